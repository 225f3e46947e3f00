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

	// PathVolumeReport has a volume server send a heartbeat now: master -> volume server, POST {} -> {}, once the leader
	// has heard it, or after a second.
	PathVolumeReport = "/internal/volume/report"

	// PathVolumeExpire asks the primary of a volume whether all blobs in it have expired, so that it may be deleted:
	// master -> volume server, POST ExpireVolume -> VolumeInfo. From then on the volume takes nothing. 409 if it was
	// written to since, or its time is not over by the clock of the server.
	PathVolumeExpire = "/internal/volume/expire"

	// PathVolumeVacuum has a copy compacted: master -> volume server, POST VacuumVolume -> VacuumStatus. It answers
	// within seconds, and is asked again while the status says that it goes on. GET ?volumeId= -> VacuumStatus only
	// tells how the copy is compacted.
	PathVolumeVacuum = "/internal/volume/vacuum"

	// PathConfigure asks the leading master to replace a configuration: volume server -> master, POST VolumeConfig
	// with the epoch after the one that it is to replace -> VolumeConfig in force, be it that or another. A master
	// that does not lead passes it on; 404 if there is no such volume, 503 if the outcome is not known.
	PathConfigure = "/internal/volume/configure"
	// PathVolumeCopies orders the primary of a volume: master -> volume server, POST ChangeCopies -> ReplicationStatus.
	// The order is carried out over time; a server that is not the primary answers 409.
	PathVolumeCopies = "/internal/volume/copies"
	// PathReplicationStatus tells how a server's copy of a volume stands: GET ?volumeId= -> ReplicationStatus.
	PathReplicationStatus = "/internal/volume/replication"
	// PathReplicate begins a connection on which a server sends to another what concerns their common volumes:
	// GET with Upgrade: weed-replication/1, and the sender's address in From.
	PathReplicate = "/internal/replicate"
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
	// CompactFloor is up to where in its log the copy was compacted, 0 if it was not by this program; LogLength is how
	// long the log is, with what compactions have left out. Unlike Size both mean the same in all copies.
	CompactFloor int64  `json:"CompactFloor,omitempty"`
	LogLength    uint64 `json:"LogLength,omitempty"`

	MaxKey uint64 `json:"MaxKey,omitempty"` // highest needle key ever indexed
	Disk   int    `json:"Disk,omitempty"`   // ordinal of the server's directory
	// CopyEpoch is the epoch of the configuration that the copy knows; 0 if it knows none.
	CopyEpoch uint64 `json:"CopyEpoch,omitempty"`
	// WholeIn is the last epoch at whose begin the copy had all that had been acknowledged; 0 if it knows of none.
	WholeIn uint64 `json:"WholeIn,omitempty"`
	// InSync says that the copy has all that is committed in that epoch.
	InSync bool `json:"InSync,omitempty"`
}

// VolumeConfig is the configuration of a volume: who holds it, and who of these leads.
type VolumeConfig struct {
	ID      uint32   `json:"id"`
	Epoch   uint64   `json:"epoch"`
	Primary string   `json:"primary"` // host:port
	Members []string `json:"members"` // the primary among them
	Copies  int      `json:"copies"`  // wanted; a request to PathConfigure need not say it
}

// ChangeCopies orders the primary to change who holds the volume.
type ChangeCopies struct {
	ID uint32 `json:"id"`
	// Add is brought to the log and made a member then; it must hold the volume, be it empty. Forget takes that
	// order back. Drop is a member to be left out, Lead one to become the primary.
	Add    string `json:"add,omitempty"`
	Forget string `json:"forget,omitempty"`
	Drop   string `json:"drop,omitempty"`
	Lead   string `json:"lead,omitempty"`
}

// ReplicationStatus is how one copy of a volume stands.
type ReplicationStatus struct {
	VolumeConfig
	Role      string `json:"role"`   // "primary", "follower", "outside"
	InSync    bool   `json:"inSync"` // it has all that is committed; of a primary, all members have its log
	Length    int64  `json:"length"` // of its log in bytes
	Committed int64  `json:"committed"`
	// Generation names the file of the log, in which the lengths are: see PathVolumeLog.
	Generation string           `json:"generation"`
	Learners   map[string]int64 `json:"learners,omitempty"` // of a primary: bytes that servers have that are being added
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
	// LastKey is the highest needle key that a master has to give out, 0 if that is not told.
	LastKey uint64 `json:"lastKey,omitempty"`
	// Configs are those of volumes that the server holds, of which it reported another epoch.
	Configs []VolumeConfig `json:"configs,omitempty"`
	// Resend asks for a full heartbeat at once: the master does not know this incarnation, or missed one.
	Resend bool `json:"resend,omitempty"`
}

// CreateVolume orders a new, empty volume.
type CreateVolume struct {
	ID          uint32 `json:"id"`
	Collection  string `json:"collection"`
	Replication string `json:"replication"`
	TTL         string `json:"ttl"`
	// Config is the volume's first configuration, of epoch 1. Without it the server makes an empty copy that is
	// to be brought to the log of the others.
	Config *VolumeConfig `json:"config,omitempty"`
	// Revision is how often the log was compacted that such a copy is to have.
	Revision uint16 `json:"revision,omitempty"`
}

// VacuumVolume orders a compaction of a log, unless its revision is another one already. With Follow it orders the one
// that another copy has done, unless that is done, whatever the revision.
type VacuumVolume struct {
	ID       uint32  `json:"id"`
	Revision uint16  `json:"revision"`
	Follow   *Origin `json:"follow,omitempty"`
	// Survey has the copy read only, and the status tell Planned.
	Survey bool `json:"survey,omitempty"`
}

// Origin tells how a log was compacted: see storage.Origin. Copies of a log with the same one are the same.
type Origin struct {
	Revision uint16 `json:"revision"`
	Floor    int64  `json:"floor"`
	Skipped  int64  `json:"skipped"`
	AsOf     int64  `json:"asOf"` // unix nanoseconds
	Sum      uint32 `json:"sum"`
}

// VacuumStatus is what has become of a VacuumVolume.
type VacuumStatus struct {
	Running bool   `json:"running,omitempty"`
	Error   string `json:"error,omitempty"` // why the log is not compacted
	Origin  Origin `json:"origin"`          // of the log now
	// Planned is what a compaction would make of the log, which copies may follow; nil if the revision is another one.
	Planned *Origin `json:"planned,omitempty"`
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

// ExpireVolume asks whether a volume is over.
type ExpireVolume struct {
	ID               uint32 `json:"id"`
	Collection       string `json:"collection"`
	ModifiedAtSecond int64  `json:"modifiedAtSecond"` // of the last append that the master knows of
}

// Error is the body of every failed request.
type Error struct {
	Error string `json:"error"`
}
