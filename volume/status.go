package volume

import (
	"encoding/json"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// makePages lists what is served under fixed paths.
func (s *Server) makePages() map[string]page {
	get, post := []string{fasthttp.MethodGet}, []string{fasthttp.MethodPost}
	return map[string]page{
		"/status":  {s.getStatus, get},
		"/healthz": {func(ctx *fasthttp.RequestCtx) { httpx.JSON(ctx, fasthttp.StatusOK, struct{}{}) }, get},
		"/readyz":  {s.getReady, get},
		"/metrics": {httpx.Std(promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})), get},

		wire.PathVolumeCreate: {s.postCreate, post},
		wire.PathVolumeDelete: {s.postDelete, post},
		wire.PathVolumeMark:   {s.postMark, post},
		wire.PathVolumeReport: {s.postReport, post},
		wire.PathVolumeExpire: {s.postExpire, post},
		wire.PathVolumeVacuum: {s.serveVacuum, []string{fasthttp.MethodGet, fasthttp.MethodPost}},

		wire.PathVolumeLog:      {s.getLog, get},
		wire.PathVolumeNeedles:  {s.getNeedles, get},
		wire.PathVolumeChecksum: {s.getChecksum, get},
		wire.PathVolumeRests:    {s.getRests, get},
		wire.PathVolumeSums:     {s.getSums, get},
		wire.PathVolumeScrub:    {s.serveScrub, []string{fasthttp.MethodGet, fasthttp.MethodPost}},

		wire.PathVolumeCopies:      {s.postCopies, post},
		wire.PathReplicationStatus: {s.getReplication, get},
		wire.PathReplicate:         {s.getReplicate, get},
	}
}

// diskStatus is one directory in /status.
type diskStatus struct {
	Dir         string  `json:"dir"`
	All         uint64  `json:"all"`
	Used        uint64  `json:"used"`
	Free        uint64  `json:"free"`
	PercentFree float64 `json:"percent_free"`
	PercentUsed float64 `json:"percent_used"`
}

func (s *Server) getStatus(ctx *fasthttp.RequestCtx) {
	answer := struct {
		Version      string            `json:"Version"`
		DiskStatuses []diskStatus      `json:"DiskStatuses"`
		Volumes      []wire.VolumeInfo `json:"Volumes"`
		Scrub        wire.ScrubStatus  `json:"Scrub"`
	}{Version: s.cfg.Version, Volumes: []wire.VolumeInfo{}, Scrub: s.scrub.status(0)}
	for _, d := range s.store.Directories() {
		u := d.Usage
		disk := diskStatus{Dir: d.Path, All: u.TotalBytes, Used: u.TotalBytes - u.FreeBytes, Free: u.FreeBytes}
		if u.TotalBytes > 0 {
			disk.PercentFree = float64(u.FreeBytes) / float64(u.TotalBytes) * 100
			disk.PercentUsed = 100 - disk.PercentFree
		}
		answer.DiskStatuses = append(answer.DiskStatuses, disk)
	}
	for _, v := range s.store.Volumes() {
		answer.Volumes = append(answer.Volumes, s.volumeInfo(v))
	}
	httpx.JSON(ctx, fasthttp.StatusOK, answer)
}

// getReady tells whether a master knows this server.
func (s *Server) getReady(ctx *fasthttp.RequestCtx) {
	if !s.beat.registered.Load() {
		httpx.Error(ctx, fasthttp.StatusServiceUnavailable, "no master has taken this server in yet: check that one runs at the addresses of -mserver")
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, struct{}{})
}

// volumeInfo puts a volume's status in the form that masters and clients read.
func (s *Server) volumeInfo(v storage.PlacedStatus) wire.VolumeInfo {
	info := wire.VolumeInfo{
		ID:         uint32(v.ID),
		SizeBytes:  uint64(v.SizeBytes),
		Collection: v.Collection,
		ReplicaPlacement: wire.ReplicaPlacement{
			SameRackCount:       int(v.Placement.Servers),
			DiffRackCount:       int(v.Placement.Racks),
			DiffDataCenterCount: int(v.Placement.DataCenters),
		},
		TTL:              v.TTL.String(),
		Version:          int(v.Version),
		FileCount:        uint64(v.Live),
		DeleteCount:      v.DeletedCount,
		DeletedByteCount: v.DeletedBytes,
		ReadOnly:         v.ReadOnly != 0,
		ReadOnlyReason:   v.ReadOnly.String(),
		CompactRevision:  v.Revision,
		MaxKey:           uint64(v.MaxKey),
		Disk:             v.Directory,
	}
	if !v.ModifiedAt.IsZero() {
		info.ModifiedAtSecond = v.ModifiedAt.Unix()
	}
	if held, ok := s.store.Volume(v.ID); ok {
		info.CompactFloor, info.LogLength = held.Origin().Floor, uint64(held.LogLength())
	}
	info.CopyEpoch, info.WholeIn, info.InSync = s.epochOf(v.ID)
	return info
}

// answerJSON sends JSON that was made by hand, indented when the client asks for that.
func answerJSON(ctx *fasthttp.RequestCtx, status int, text []byte) {
	if httpx.Pretty(ctx) {
		httpx.JSON(ctx, status, json.RawMessage(text))
		return
	}
	httpx.RawJSON(ctx, status, text)
}

// answerVolume sends what became of a volume, after an order that changed it.
func (s *Server) answerVolume(ctx *fasthttp.RequestCtx, id blob.VolumeID) {
	for _, v := range s.store.Volumes() {
		if v.ID == id {
			httpx.JSON(ctx, fasthttp.StatusOK, s.volumeInfo(v))
			return
		}
	}
	s.fail(ctx, storage.ErrNoVolume)
}
