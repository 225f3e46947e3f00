package wire

// PathFilerVerify compares a filer's tree with the blobs on the volume servers: POST ?fix=&moveDangling=&graceSeconds= ->
// lines of VerifyEvent as it goes on, the last of which has a Result. An answer that ends without one was broken off.
const PathFilerVerify = "/.weed/verify"

// VerifyEvent is one line of the answer; one of its fields is set.
type VerifyEvent struct {
	Progress *VerifyProgress `json:"progress,omitempty"`
	Dangling *DanglingFile   `json:"dangling,omitempty"`
	Leak     *LeakedChunk    `json:"leak,omitempty"`
	Failure  string          `json:"failure,omitempty"` // what could not be looked at, and why
	Result   *VerifyResult   `json:"result,omitempty"`
}

// VerifyProgress says how far it is.
type VerifyProgress struct {
	Phase   string `json:"phase"` // list, tree, confirm or fix
	Volumes int64  `json:"volumes"`
	Of      int64  `json:"of"`      // volumes that there are to list
	Blobs   int64  `json:"blobs"`   // that were listed
	Entries int64  `json:"entries"` // that were looked at, in this phase
}

// DanglingFile is a file that misses chunks.
type DanglingFile struct {
	Path    string `json:"path"`
	Missing int    `json:"missing"` // chunks
	Chunks  int    `json:"chunks"`  // of the file
	FID     string `json:"fid"`     // the first that is missing
	Reason  string `json:"reason"`
	Aside   bool   `json:"aside,omitempty"`   // it has been moved aside before
	MovedTo string `json:"movedTo,omitempty"` // where it was moved to just now
}

// LeakedChunk is a blob of the filer's that nothing refers to.
type LeakedChunk struct {
	FID        string `json:"fid"`
	Size       int64  `json:"size"`       // bytes as stored
	AppendedAt int64  `json:"appendedAt"` // unix nanoseconds, by the volume server's clock
}

// VerifyResult is what was found, and what was done about it.
type VerifyResult struct {
	Namespace   string `json:"namespace"` // that the chunks carry
	Volumes     int64  `json:"volumes"`
	Blobs       int64  `json:"blobs"`  // on the volumes, of anybody
	Chunks      int64  `json:"chunks"` // those among them that are the filer's
	Files       int64  `json:"files"`
	Directories int64  `json:"directories"`

	Dangling int64 `json:"dangling"` // files that miss chunks, without those that were moved aside
	Aside    int64 `json:"aside"`    // files that miss chunks and are aside, those of this run among them

	Leaks     int64 `json:"leaks"`     // chunks that nothing refers to
	LeakBytes int64 `json:"leakBytes"` // bytes of those
	Queued    int64 `json:"queued"`    // leaks that are being deleted now
	Young     int64 `json:"young"`     // chunks that nothing refers to, and that are younger than the grace time
	Pending   int64 `json:"pending"`   // chunks that are being uploaded, or wait for their deletion

	Failures int64 `json:"failures"` // that were told: nothing was fixed if there are any
	More     bool  `json:"more"`     // there are more leaks than one run looks at
}

// Clean reports whether all was looked at, and nothing is left to be repaired.
func (r *VerifyResult) Clean() bool {
	return r.Failures == 0 && r.Dangling == 0 && r.Leaks == r.Queued && !r.More
}
