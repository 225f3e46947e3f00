package wire

// PathVolumeNeedles lists the live needles of a copy in the order of its log: GET ?volumeId=&offset=&generation=&verify=&pair=
// -> NeedlePage. offset is the Next of the page before, none for the first one; generation its Generation: 409 if the log is
// of another one. With verify=true the data of each is read and compared with its checksum, at the rate of scrubs. With
// pair=Name each needle tells Pair and AppendedAt. 503 while the copy can't be sure that it has what the others have.
const PathVolumeNeedles = "/internal/volume/needles"

// NeedlePage is a part of the list of a volume's live needles.
type NeedlePage struct {
	Needles    []LiveNeedle `json:"needles"`
	Next       int64        `json:"next"`       // offset to go on from, 0 at the end
	End        int64        `json:"end"`        // committed length of the log
	Generation string       `json:"generation"` // see PathVolumeLog
}

// LiveNeedle is a needle that can be read, or should be.
type LiveNeedle struct {
	Key      uint64 `json:"key"`
	Cookie   uint32 `json:"cookie"`
	Offset   int64  `json:"offset"` // of its record in the log
	Size     int64  `json:"size"`   // of the data as stored
	CRC      uint32 `json:"crc"`    // CRC-32C as stored, which may be in its older form
	Name     []byte `json:"name,omitempty"`
	Mime     []byte `json:"mime,omitempty"`
	TTL      string `json:"ttl,omitempty"`
	Modified int64  `json:"modified,omitempty"` // unix seconds
	Gzipped  bool   `json:"gzip,omitempty"`
	Manifest bool   `json:"manifest,omitempty"`
	Damage   string `json:"damage,omitempty"` // why it can't be read, if it can't

	// Pair is the value of the pair that was asked for, AppendedAt the time of the append in unix nanoseconds: 0 in
	// volumes that don't keep it, and where no pair was asked for.
	Pair       string `json:"pair,omitempty"`
	AppendedAt int64  `json:"appendedAt,omitempty"`
}
