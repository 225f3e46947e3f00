// Package wire holds the JSON bodies that masters, volume servers and clients exchange. Servers meet over
// these structs and over HTTP, never by importing each other. A field is only ever added; its zero value
// means what its absence meant before.
package wire

// Internal paths between servers. They are not for clients.
const (
	PathHeartbeat    = "/internal/heartbeat"     // volume server -> master, POST Heartbeat -> HeartbeatReply
	PathVolumeCreate = "/internal/volume/create" // master -> volume server, POST CreateVolume -> VolumeInfo
	PathVolumeDelete = "/internal/volume/delete" // master -> volume server, POST DeleteVolume -> {}
	PathVolumeMark   = "/internal/volume/mark"   // operator or master -> volume server, POST MarkVolume -> VolumeInfo
)

// ReplicaPlacement is a placement code as the public API spells it.
type ReplicaPlacement struct {
	SameRackCount       int `json:"SameRackCount"`
	DiffRackCount       int `json:"DiffRackCount"`
	DiffDataCenterCount int `json:"DiffDataCenterCount"`
}

// VolumeInfo describes one copy of a volume.
type VolumeInfo struct {
	ID               uint32           `json:"Id"`
	SizeBytes        uint64           `json:"Size"`
	Collection       string           `json:"Collection"`
	ReplicaPlacement ReplicaPlacement `json:"ReplicaPlacement"`
	TTL              string           `json:"Ttl"`
	Version          int              `json:"Version"`
	FileCount        uint64           `json:"FileCount"` // live needles
	DeleteCount      uint64           `json:"DeleteCount"`
	DeletedByteCount uint64           `json:"DeletedByteCount"`
	ReadOnly         bool             `json:"ReadOnly"`
	ReadOnlyReason   string           `json:"ReadOnlyReason,omitempty"`
	ModifiedAtSecond int64            `json:"ModifiedAtSecond"` // unix seconds of the last append
	CompactRevision  uint16           `json:"CompactRevision"`
	MaxKey           uint64           `json:"MaxKey,omitempty"` // highest needle key ever indexed
	Disk             int              `json:"Disk,omitempty"`   // ordinal of the server's directory
}

// Heartbeat is what a volume server tells its master every pulse.
type Heartbeat struct {
	URL        string `json:"url"` // host:port that names the server in the cluster
	PublicURL  string `json:"publicUrl"`
	DataCenter string `json:"dataCenter"`
	Rack       string `json:"rack"`
	Max        int    `json:"max"` // volume slots in all directories
	// Incarnation is drawn at random when the process starts; Sequence counts its heartbeats from 1.
	Incarnation uint64 `json:"incarnation"`
	Sequence    uint64 `json:"sequence"`
	// Full says that Volumes is everything the server holds. Otherwise Volumes lists the copies that are
	// new or changed since the last heartbeat that was answered, and Gone the ids that went away.
	Full    bool         `json:"full,omitempty"`
	Volumes []VolumeInfo `json:"volumes,omitempty"`
	Gone    []uint32     `json:"gone,omitempty"`
	// Leaving says that the server is shutting down: it takes no more requests after this.
	Leaving bool `json:"leaving,omitempty"`
}

// HeartbeatReply is the master's answer.
type HeartbeatReply struct {
	Leader string `json:"leader"` // host:port to send heartbeats to from now on
	// Masters are all masters, host:port each: those to turn to when the leader does not answer.
	Masters              []string `json:"masters,omitempty"`
	VolumeSizeLimitBytes uint64   `json:"volumeSizeLimitBytes"`
	PulseMillis          int64    `json:"pulseMillis"`
	// Resend asks for a full heartbeat at once: the master does not know this incarnation, or missed one.
	Resend bool `json:"resend,omitempty"`
}

// CreateVolume orders a new, empty volume.
type CreateVolume struct {
	ID          uint32 `json:"id"`
	Collection  string `json:"collection"`
	Replication string `json:"replication"`
	TTL         string `json:"ttl"`
}

// DeleteVolume orders a volume's files away. Collection must match, so that a stale order cannot remove a
// volume that has the same id in another life.
type DeleteVolume struct {
	ID         uint32 `json:"id"`
	Collection string `json:"collection"`
}

// MarkVolume sets or clears the operator's read-only mark.
type MarkVolume struct {
	ID       uint32 `json:"id"`
	ReadOnly bool   `json:"readOnly"`
}

// Error is the body of every failed request.
type Error struct {
	Error string `json:"error"`
}
