package master

import (
	"errors"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// expireVolumes deletes the volumes of a ttl in which every blob has expired, and takes those that are near that out of
// the ones that blobs are assigned to.
func (t *term) expireVolumes() {
	over := t.tree.Age(t.deps.Now())
	if t.warming() { // copies that were written to later may not have been reported yet
		return
	}
	each(len(over), func(i int) {
		if err := t.expireVolume(over[i]); err != nil {
			t.log.Warn("could not delete a volume whose time is over", "volume", uint32(over[i].ID), "err", err)
		}
	})
}

// expireVolume has the primary take nothing more, provided that the volume is over by its clock, too, and was not written
// to since it has reported: so nothing that was acknowledged and has not expired goes with it. Then the volume is
// deleted as any other is. If another server has come to lead it meanwhile, its record is of a later epoch, and stays.
func (t *term) expireVolume(aged topology.Aged) error {
	v, ok := t.machine.Volume(aged.ID)
	if !ok || !served(v) || v.TTL.IsZero() || string(v.Primary) != aged.Primary {
		return nil
	}
	order := wire.ExpireVolume{ID: uint32(v.ID), Collection: v.Collection, ModifiedAtSecond: aged.ModifiedAt}
	if err := t.order(aged.Primary, wire.PathVolumeExpire, order, nil); err != nil {
		var refused *client.StatusError
		if errors.As(err, &refused) && refused.Status == fasthttp.StatusConflict {
			return nil // it is not over after all
		}
		return err
	}
	if err := t.setState(v, state.Deleting); err != nil {
		return err
	}
	t.log.Info("the time of a volume is over: it is deleted", "volume", uint32(v.ID), "collection", v.Collection, "ttl", v.TTL.String())
	return t.deleteVolume(v.ID)
}
