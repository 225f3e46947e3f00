package wire

// Internal paths about the bytes of volumes' logs.
const (
	// PathVolumeLog reads committed bytes of a copy's log: GET ?volumeId=&generation=&offset=&length= -> the bytes, all of
	// them. Offsets are those in files of a generation: 409 if the log is of another one. 400 for more than MaxLogBytes,
	// 416 if they are not all committed here, 503 while the copy can't be sure that it has what the others have.
	PathVolumeLog = "/internal/volume/log"
	// PathVolumeChecksum sums up committed bytes of a copy's log: GET ?volumeId=&offset=&length=&crc= -> LogChecksum.
	// crc is that of the bytes before, 0 for none. The disk is read at a bounded rate, so the answer may be about
	// fewer bytes than were asked for, from one on: the caller asks again for the rest. 416 if they are not all
	// committed. The bytes are those of the generation that the answer names.
	PathVolumeChecksum = "/internal/volume/checksum"
	// PathVolumeRests sums up what no checksum of a record covers in a run of records: GET ?volumeId=&generation=&offset=
	// &length=&number=&records= -> RestSums. Errors as for PathVolumeLog.
	PathVolumeRests = "/internal/volume/rests"
	// PathVolumeSums tells what is known of runs of records: GET ?volumeId=&generation=&from=&runs= -> RunSums. 409 if the
	// log is of another generation.
	PathVolumeSums = "/internal/volume/sums"
	// PathVolumeScrub tells what scrubs have found: GET ?volumeId= -> ScrubStatus. POST orders one at once. Without
	// volumeId it is about all volumes of the server.
	PathVolumeScrub = "/internal/volume/scrub"
)

// MaxLogBytes bounds one answer of PathVolumeLog.
const MaxLogBytes = 1 << 20

// LogChecksum is a running checksum of a log.
type LogChecksum struct {
	Length     int64  `json:"length"` // bytes behind the offset that were read
	CRC        uint32 `json:"crc"`    // CRC-32C of these, continued from what was given
	Generation string `json:"generation"`
}

// RestSums is about what is no data in a run of records.
type RestSums struct {
	Sum     uint32 `json:"sum"`     // what was written, 0 if that is not known
	Doubted bool   `json:"doubted"` // sum is what was found after a crash
	Here    uint32 `json:"here"`    // what is there
}

// MaxRunSums bounds one answer of PathVolumeSums.
const MaxRunSums = 4096

// RunSums is about runs of records that follow each other.
type RunSums struct {
	Sums []uint32 `json:"sums"` // as RestSums.Sum, 0 also if it is doubted
}

// ScrubStatus is what a server's scrub does and has found.
type ScrubStatus struct {
	BytesPerSecond int64 `json:"bytesPerSecond"` // 0: volumes are read on order only
	// Reading is the volume that is being read, 0 for none: Offset bytes of Length are done.
	Reading uint32        `json:"reading,omitempty"`
	Offset  int64         `json:"offset,omitempty"`
	Length  int64         `json:"length,omitempty"`
	Volumes []VolumeScrub `json:"volumes"`
}

// VolumeScrub is what is known of one volume since the server was started.
type VolumeScrub struct {
	ID      uint32 `json:"id"`
	Pending bool   `json:"pending,omitempty"` // it was ordered and is not finished
	// FinishedAtSecond is when the last pass ended, in unix seconds, 0 for never; Bytes is what it read.
	FinishedAtSecond int64 `json:"finishedAtSecond,omitempty"`
	Bytes            int64 `json:"bytes,omitempty"`
	// Error says why the last pass was not completed.
	Error  string `json:"error,omitempty"`
	Mended uint64 `json:"mended,omitempty"` // records that were replaced by those of another copy, also for reads
	// Damaged lists what is not mended, the first of many.
	Damaged []DamagedRange `json:"damaged,omitempty"`
}

// DamagedRange is a range of bytes of a log that are not what was written.
type DamagedRange struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Reason string `json:"reason"`
}
