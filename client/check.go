package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weed/internal/wire"
)

// checkRangeBytes is how much of a volume's log is summed up at once: where copies differ is told in such ranges.
const checkRangeBytes = 64 << 20

// scrubPoll is how often a server is asked how far its scrub is.
const scrubPoll = time.Second

// VolumeCheck says whether the copies of a volume are the same, byte by byte.
type VolumeCheck struct {
	ID uint32 `json:"id"`
	// Identical says that all copies were compared and are the same, or that there is but one.
	Identical bool           `json:"identical"`
	Length    int64          `json:"length"` // bytes that were compared: as much as all copies have committed
	Copies    []CheckedCopy  `json:"copies"`
	Different []CheckedRange `json:"different,omitempty"`
}

// CheckedCopy is one copy of a volume that is being checked.
type CheckedCopy struct {
	Server string `json:"server"`
	Length int64  `json:"length"` // committed bytes
	// Error says why the copy was not compared, or not to the end; "" if it was.
	Error string `json:"error,omitempty"`

	generation string // of the file in which the offsets are
}

// CheckedRange is a range of bytes in which copies differ.
type CheckedRange struct {
	Offset    int64             `json:"offset"`
	Length    int64             `json:"length"`
	Checksums map[string]uint32 `json:"checksums"` // CRC-32C by server
}

// CheckVolume compares the copies of a volume, strays aside. Each server reads its copy once, at the rate of its
// scrubs, so it takes time: v.Size() by that rate. Blobs may be written and read meanwhile. What is wrong with a
// copy is in the result; the error is that of ctx.
func (c *Client) CheckVolume(ctx context.Context, v *Volume) (VolumeCheck, error) {
	check := VolumeCheck{ID: v.ID, Copies: []CheckedCopy{}}
	for i := range v.Copies {
		if !v.Copies[i].Stray {
			check.Copies = append(check.Copies, CheckedCopy{Server: v.Copies[i].Server})
		}
	}
	c.checkLengths(ctx, &check)
	check.sameGeneration()
	first := true
	for i := range check.Copies {
		if at := &check.Copies[i]; at.Error == "" && (first || at.Length < check.Length) {
			check.Length, first = at.Length, false
		}
	}
	if len(check.Copies) > 1 {
		for at := int64(0); at < check.Length && ctx.Err() == nil; at += checkRangeBytes {
			c.checkRange(ctx, &check, at, min(checkRangeBytes, check.Length-at))
		}
	}
	check.Identical = len(check.Copies) > 0 && len(check.Different) == 0 &&
		!slices.ContainsFunc(check.Copies, func(at CheckedCopy) bool { return at.Error != "" })
	return check, ctx.Err()
}

// sameGeneration leaves out copies that are not compacted as the first one is.
func (check *VolumeCheck) sameGeneration() {
	var first *CheckedCopy
	for i := range check.Copies {
		switch at := &check.Copies[i]; {
		case at.Error != "":
		case first == nil:
			first = at
		case at.generation != first.generation:
			at.Error = errGeneration.Error()
		}
	}
}

// errGeneration: the masters have it compacted as the others are within a minute or so.
var errGeneration = errors.New("the copy is not compacted as the others are yet, so there is nothing to compare: check it again in a minute")

// onCopies calls ask for each copy that has not failed, at the same time, and notes its error.
func (check *VolumeCheck) onCopies(ask func(at *CheckedCopy) error) {
	var calls sync.WaitGroup
	for i := range check.Copies {
		if at := &check.Copies[i]; at.Error == "" {
			calls.Go(func() {
				if err := ask(at); err != nil {
					at.Error = plain(err)
				}
			})
		}
	}
	calls.Wait()
}

// plain leaves of a refusal what the server says itself.
func plain(err error) string {
	var refused *StatusError
	if errors.As(err, &refused) {
		return refused.Message
	}
	return err.Error()
}

var errNotInSync = errors.New("the copy is not in touch with the others, or catches up with them")

// checkLengths asks all copies how long they are.
func (c *Client) checkLengths(ctx context.Context, check *VolumeCheck) {
	check.onCopies(func(at *CheckedCopy) error {
		for p := c.patience(); ; {
			var status wire.ReplicationStatus
			err := c.GetJSON(ctx, at.Server, fmt.Sprintf("%s?volumeId=%d", wire.PathReplicationStatus, check.ID), &status)
			if err == nil {
				at.generation = status.Generation
				if at.Length = status.Committed; status.InSync {
					return nil
				}
				return errNotInSync
			}
			if !p.wait(ctx, err) {
				return err
			}
		}
	})
}

// checkRange compares one range.
func (c *Client) checkRange(ctx context.Context, check *VolumeCheck, offset, length int64) {
	var mu sync.Mutex // guards sums
	sums := map[string]uint32{}
	check.onCopies(func(at *CheckedCopy) error {
		crc, err := c.checksum(ctx, at, check.ID, offset, length)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			sums[at.Server] = crc
		}
		return err
	})
	var one uint32
	for _, one = range sums {
		break
	}
	for _, crc := range sums {
		if crc != one {
			check.Different = append(check.Different, CheckedRange{Offset: offset, Length: length, Checksums: sums})
			return
		}
	}
}

// checksum returns the CRC-32C of a range of a copy's log.
func (c *Client) checksum(ctx context.Context, at *CheckedCopy, id uint32, offset, length int64) (crc uint32, err error) {
	p := c.patience()
	for done := int64(0); done < length; {
		var sum wire.LogChecksum
		err := c.GetJSON(ctx, at.Server, fmt.Sprintf("%s?volumeId=%d&offset=%d&length=%d&crc=%d",
			wire.PathVolumeChecksum, id, offset+done, length-done, crc), &sum)
		switch {
		case err == nil && sum.Generation != at.generation:
			return 0, ErrCompacted
		case err == nil && (sum.Length < 1 || sum.Length > length-done):
			return 0, fmt.Errorf("%s sums up %d bytes of %d", at.Server, sum.Length, length-done)
		case err == nil:
			crc, done = sum.CRC, done+sum.Length
		case !p.wait(ctx, err):
			return 0, err
		}
	}
	return crc, nil
}

// VolumeScrub is what a server has found when it read its copy of a volume again.
type VolumeScrub struct {
	Server string `json:"server"`
	Bytes  int64  `json:"bytes"`  // read
	Mended uint64 `json:"mended"` // records replaced by those of another copy since the server was started
	// Damaged lists what is damaged and could not be mended, the first of many.
	Damaged []DamagedRange `json:"damaged,omitempty"`
	// Error says why the copy was not read to its end, "" if it was.
	Error string `json:"error,omitempty"`
}

// DamagedRange is a range of bytes of a volume's log that are not what was written.
type DamagedRange struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Reason string `json:"reason"`
}

// ScrubVolume has a server read its copy of a volume again, check it, and mend it from another copy; it waits for the
// end. A copy that can't be read now is no error, but says so. Errors: ErrNotFound, ErrUnavailable, a *StatusError.
func (c *Client) ScrubVolume(ctx context.Context, server string, id uint32) (VolumeScrub, error) {
	path := fmt.Sprintf("%s?volumeId=%d", wire.PathVolumeScrub, id)
	var status wire.ScrubStatus
	err := c.PostJSON(ctx, server, path, struct{}{}, &status)
	for err == nil && len(status.Volumes) == 1 && status.Volumes[0].Pending {
		if err = c.clock.Sleep(ctx, scrubPoll); err == nil {
			status = wire.ScrubStatus{}
			err = c.GetJSON(ctx, server, path, &status)
		}
	}
	if err != nil {
		return VolumeScrub{}, fmt.Errorf("scrub volume %d: %w", id, err)
	}
	result := VolumeScrub{Server: server}
	if len(status.Volumes) != 1 {
		return result, fmt.Errorf("scrub volume %d: %w: %s has it no more", id, ErrNotFound, server)
	}
	s := &status.Volumes[0]
	result.Bytes, result.Mended, result.Error = s.Bytes, s.Mended, s.Error
	for _, d := range s.Damaged {
		result.Damaged = append(result.Damaged, DamagedRange(d))
	}
	return result, nil
}
