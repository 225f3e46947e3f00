package volume

import (
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/storage"
)

// postExpire answers a master that wants to know whether all blobs of a volume have expired: see wire.PathVolumeExpire.
func (s *Server) postExpire(ctx *fasthttp.RequestCtx) {
	var order wire.ExpireVolume
	err := s.readOrder(ctx, &order)
	if err == nil {
		err = s.expire(order)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	s.cfg.Logger.Info("the time of a volume is over", "volume", order.ID, "collection", order.Collection)
	s.answerVolume(ctx, blob.VolumeID(order.ID))
}

func (s *Server) expire(order wire.ExpireVolume) error {
	id := blob.VolumeID(order.ID)
	v, ok := s.store.Volume(id)
	if !ok || v.Collection() != order.Collection {
		return fmt.Errorf("volume %d of collection %q: %w", order.ID, order.Collection, storage.ErrNoVolume)
	}
	if r := s.node.Replica(id); r != nil && (!s.leads(id) || !r.Look().InSync) {
		return fmt.Errorf("volume %d: %w: this server does not lead it", order.ID, storage.ErrAlive)
	}
	return v.Expire(time.Unix(order.ModifiedAtSecond, 0))
}

// checkTTL refuses a blob that would have to outlive its volume, which is deleted as a whole.
func checkTTL(v *storage.Volume, ttl blob.TTL) error {
	if most := v.TTL(); !most.IsZero() && ttl.Duration() > most.Duration() {
		return fmt.Errorf("%w ttl %s: what is in this volume lives for %s; ask the master for a fid with ttl=%s", errParameter, ttl, most, ttl)
	}
	return nil
}
