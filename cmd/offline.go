package cmd

import (
	"errors"
	"fmt"
	"math"

	"github.com/spf13/pflag"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// offlineFlags name one volume in a directory that no server has open.
type offlineFlags struct {
	dir, collection string
	volumeID        uint
}

func (f *offlineFlags) register(flags *pflag.FlagSet, dirUsage string) {
	flags.StringVar(&f.dir, "dir", ".", dirUsage)
	flags.StringVar(&f.collection, "collection", "", "The `name` of the volume's collection; the default collection has none.")
	flags.UintVar(&f.volumeID, "volumeId", 0, "The `id` of the volume.")
}

const offlineDirUsage = "The `directory` that holds the volume's .dat and .idx files. No server may have it open."

// id checks the flags and returns the volume's id.
func (f *offlineFlags) id() (blob.VolumeID, error) {
	if f.volumeID == 0 || f.volumeID > math.MaxUint32 {
		return 0, usageErrorf("-volumeId: name the volume by its id, the number in the name of its .dat file")
	}
	if err := blob.CheckCollection(f.collection); err != nil {
		return 0, fmt.Errorf("-collection: %w", err)
	}
	return blob.VolumeID(f.volumeID), nil
}

// with locks the directory, calls work, and gives the directory back.
func (f *offlineFlags) with(work func(*storage.Offline) error) (err error) {
	id, err := f.id()
	if err != nil {
		return err
	}
	offline, err := storage.LockOffline(vfs.OS, f.dir, f.collection, id, storage.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, offline.Close()) }()
	return work(offline)
}
