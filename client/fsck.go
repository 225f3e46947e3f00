package client

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/valyala/fasthttp"

	"weed/internal/wire"
)

// maxProblems bounds VolumeFsck.Problems.
const maxProblems = 1000

// VolumeFsck says whether every live blob of a volume can be read from every copy.
type VolumeFsck struct {
	ID     uint32       `json:"id"`
	Copies []FsckedCopy `json:"copies"`
	// Problems are the first of Count blobs that can't be read from a copy.
	Problems []FsckProblem `json:"problems,omitempty"`
	Count    int           `json:"problemCount"`
}

// FsckedCopy is one copy of a volume that was read.
type FsckedCopy struct {
	Server string `json:"server"`
	Blobs  int64  `json:"blobs"` // that are live there
	Bytes  int64  `json:"bytes"` // of their content as stored
	// Error says why the copy was not read, or not to the end; "" if it was.
	Error string `json:"error,omitempty"`
}

// FsckProblem is a blob that can't be read from a copy.
type FsckProblem struct {
	FID    string `json:"fid"`
	Server string `json:"server"`
	Reason string `json:"reason"`
}

// Good reports whether there is nothing to complain about.
func (f *VolumeFsck) Good() bool {
	for i := range f.Copies {
		if f.Copies[i].Error != "" {
			return false
		}
	}
	return f.Count == 0
}

// fsck is one FsckVolume.
type fsck struct {
	c      *Client
	result VolumeFsck
	lists  []*needleList // by copy
}

// FsckVolume has every server of a volume, strays aside, list the live blobs of its copy and read each, at the rate of its
// scrubs, and compares the lists, which have the same order. Blobs may be written and deleted meanwhile: where lists
// differ the servers are asked for that blob once more. What is wrong with a copy is in the result; the error is that of
// ctx.
func (c *Client) FsckVolume(ctx context.Context, v *Volume) (VolumeFsck, error) {
	within, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	f := fsck{c: c, result: VolumeFsck{ID: v.ID, Copies: []FsckedCopy{}}}
	for i := range v.Copies {
		if !v.Copies[i].Stray {
			f.result.Copies = append(f.result.Copies, FsckedCopy{Server: v.Copies[i].Server})
			f.lists = append(f.lists, c.listNeedles(within, v.Copies[i].Server, v.ID, true, ListOptions{}, &work))
		}
	}
	for f.step(ctx) {
		if ctx.Err() != nil {
			break
		}
	}
	return f.result, ctx.Err()
}

// step looks at the first needle that any list has next; false when all are at their ends.
func (f *fsck) step(ctx context.Context) bool {
	var first *wire.LiveNeedle
	heads := make([]*wire.LiveNeedle, len(f.lists))
	for i, list := range f.lists {
		n, ok := list.peek()
		if !ok {
			if list.err != nil && f.result.Copies[i].Error == "" {
				f.result.Copies[i].Error = plain(list.err)
			}
			continue
		}
		if heads[i] = n; first == nil || n.Offset < first.Offset {
			first = n
		}
	}
	if first == nil {
		return false
	}
	fid := f.lists[0].fid(first)
	here, missing := -1, false
	for i, n := range heads {
		at := &f.result.Copies[i]
		switch {
		case at.Error != "":
		case n == nil || n.Offset != first.Offset || n.Key != first.Key:
			missing = true
		default:
			here = i
			at.Blobs++
			if at.Bytes += n.Size; n.Damage != "" {
				f.complain(fid, at.Server, n.Damage)
			}
		}
	}
	if missing && here >= 0 {
		f.ask(ctx, fid, heads, first)
	}
	for i, n := range heads {
		if n != nil && n.Offset == first.Offset {
			f.lists[i].next()
		}
	}
	return true
}

func (f *fsck) complain(fid, server, reason string) {
	if f.result.Count++; len(f.result.Problems) < maxProblems {
		f.result.Problems = append(f.result.Problems, FsckProblem{fid, server, reason})
	}
}

// ask asks all servers for a blob that some have not listed. If none has it any more it was deleted meanwhile.
func (f *fsck) ask(ctx context.Context, fid string, heads []*wire.LiveNeedle, first *wire.LiveNeedle) {
	status := make([]int, len(heads))
	found := false
	for i := range heads {
		if f.result.Copies[i].Error != "" {
			continue
		}
		r := Request{Method: fasthttp.MethodHead, Host: f.result.Copies[i].Server, Path: "/" + fid + "?cm=false", Idempotent: true}
		status[i], _, _ = f.c.Forward(ctx, &r, nil) // 0 says that there is no answer
		found = found || status[i] == http.StatusOK
	}
	for i, n := range heads {
		listed := n != nil && n.Offset == first.Offset && n.Key == first.Key
		if found && !listed && status[i] != http.StatusOK && f.result.Copies[i].Error == "" {
			f.complain(fid, f.result.Copies[i].Server, "it is not there, though other copies have it: "+answerText(status[i]))
		}
	}
}

func answerText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprintf("%d %s", status, fasthttp.StatusMessage(status))
}
