package export

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrIncomplete says that something was left out of what was written, which is whole apart from that.
var ErrIncomplete = errors.New("not everything could be read")

// CheckOutput refuses what is no name for Write.
func CheckOutput(name string) error {
	if name != "-" && !strings.HasSuffix(name, ".tar") {
		return fmt.Errorf("%q is neither - nor the name of a .tar file", name)
	}
	return nil
}

// Write has a file written under a temporary name, makes it durable and gives it its name; "-" stands for stdout. A file
// of which write says ErrIncomplete gets its name as well; after any other error nothing is left.
func Write(stdout io.Writer, name string, write func(io.Writer) error) error {
	if name == "-" {
		w := bufio.NewWriterSize(stdout, 1<<20)
		err := write(w)
		return errors.Join(err, w.Flush())
	}
	temp := name + "." + rand.Text()[:8] + ".part" // another call may be writing the same file
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	result := write(w)
	if err = result; err == nil || errors.Is(err, ErrIncomplete) {
		if err = w.Flush(); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return result
}
