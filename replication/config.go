package replication

import (
	"slices"
	"time"
)

// Server names a server of the cluster by the host:port that it advertises.
type Server string

// Instant is a time on the monotonic clock of one server. Instants of different servers are not comparable.
type Instant = time.Duration

// Config is a volume's configuration as the masters have it.
type Config struct {
	Epoch   uint64
	Primary Server
	Members []Server // the primary among them
	Copies  int      // that the volume is to have; with fewer members it takes no puts
}

// Has reports whether a server is a member.
func (c *Config) Has(s Server) bool { return slices.Contains(c.Members, s) }

// Era is the part of a log that was written in one epoch: from Start up to the start of the next era.
type Era struct {
	Epoch uint64 `json:"epoch"`
	Start int64  `json:"start"` // offset in bytes
}

// History is the eras of a log in order. Two logs with an era of the same epoch are equal up to the point where
// that era ends in the first of them.
type History []Era

// Last returns the newest era; its zero value means that there is none.
func (h History) Last() Era {
	if len(h) == 0 {
		return Era{}
	}
	return h[len(h)-1]
}

// end returns where the i-th era of a log of a length ends.
func (h History) end(i int, length int64) int64 {
	if i+1 < len(h) {
		return min(h[i+1].Start, length)
	}
	return length
}

// LogStart is where every log begins: its file's superblock, which is not replicated, comes before.
const LogStart = 8

// Divergence returns up to which offset two logs are equal, as their histories tell; LogStart if they have no
// era in common.
func Divergence(a History, aLength int64, b History, bLength int64) int64 {
	i, k := len(a)-1, len(b)-1
	for i >= 0 && k >= 0 {
		switch {
		case a[i].Epoch > b[k].Epoch:
			i--
		case a[i].Epoch < b[k].Epoch:
			k--
		default:
			return min(a.end(i, aLength), b.end(k, bLength))
		}
	}
	return LogStart
}

// begin returns the history with an era of epoch that starts at offset. Eras that would start there or behind
// hold nothing and go.
func (h History) begin(epoch uint64, start int64) History {
	n := len(h)
	for n > 0 && h[n-1].Start >= start {
		n--
	}
	kept := h[max(n-maxEras+1, 0):n]
	return append(slices.Clone(kept), Era{epoch, start})
}

// maxEras bounds a history. A log that shares no era with it any more is fetched as a whole.
const maxEras = 256

// Durable is what a server keeps of a volume over a restart, besides the log itself.
type Durable struct {
	Config  Config  `json:"config"`
	History History `json:"history"`
	// Complete is the last epoch up to which the log has all that may have been acknowledged.
	Complete uint64 `json:"complete"`
	// Asked is the configuration of the next epoch, without some members, that the masters were asked for.
	Asked *Config `json:"asked,omitempty"`
}
