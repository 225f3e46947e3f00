package volume

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// maxOrderBytes bounds the body of an order.
const maxOrderBytes = 64 << 10

// readOrder decodes a master's or an operator's order.
func (s *Server) readOrder(ctx *fasthttp.RequestCtx, order any) error {
	body, err := httpx.ReadBody(ctx, s.budget, maxOrderBytes)
	if err != nil {
		return err
	}
	defer body.Release()
	if err := json.Unmarshal(body.Bytes, order); err != nil {
		return fmt.Errorf("%w: the order is not the JSON that is expected: %w", errParameter, err)
	}
	return nil
}

// volume returns a volume; the error is storage.ErrNoVolume.
func (s *Server) volume(id blob.VolumeID) (*storage.Volume, error) {
	if v, ok := s.store.Volume(id); ok {
		return v, nil
	}
	return nil, fmt.Errorf("volume %d: %w", id, storage.ErrNoVolume)
}

// queriedVolume returns the volume of ?volumeId=.
func (s *Server) queriedVolume(args *fasthttp.Args) (*storage.Volume, error) {
	id, err := unsigned(args, "volumeId", math.MaxUint32)
	if err != nil {
		return nil, err
	}
	return s.volume(blob.VolumeID(id))
}

// postCreate makes a new, empty volume.
func (s *Server) postCreate(ctx *fasthttp.RequestCtx) {
	var order wire.CreateVolume
	err := s.readOrder(ctx, &order)
	if err == nil {
		err = s.create(order)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	s.beat.kick()
	s.answerVolume(ctx, blob.VolumeID(order.ID))
}

func (s *Server) create(order wire.CreateVolume) error {
	placement, err := blob.ParsePlacement(order.Replication)
	if err != nil {
		return err
	}
	ttl, err := blob.ParseTTL(order.TTL)
	if err != nil {
		return err
	}
	if order.ID == 0 {
		return fmt.Errorf("%w: a volume's id is at least 1", errParameter)
	}
	v, err := s.store.CreateCopy(blob.VolumeID(order.ID), order.Collection, placement, ttl, order.Revision)
	if err == nil {
		err = s.group(v, order.Config)
	}
	if err == nil {
		s.cfg.Logger.Info("volume created", "volume", order.ID, "collection", order.Collection,
			"replication", placement.String(), "ttl", ttl.String())
	}
	return err
}

// group makes a new volume one of a group: of the first configuration that is given, or of one that it is to join.
func (s *Server) group(v *storage.Volume, first *wire.VolumeConfig) error {
	if first == nil {
		if v.Placement().Copies() == 1 {
			return nil
		}
		_, err := s.node.Open(v, nil)
		return err
	}
	c := configOf(*first)
	if c.Copies <= 1 && len(c.Members) == 1 {
		s.plain.Store(v.ID(), c)
		return nil
	}
	_, err := s.node.Open(v, &c)
	return err
}

// postDelete removes a volume's files.
func (s *Server) postDelete(ctx *fasthttp.RequestCtx) {
	var order wire.DeleteVolume
	err := s.readOrder(ctx, &order)
	if err == nil {
		err = s.remove(blob.VolumeID(order.ID), order.Collection)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	s.cfg.Logger.Info("volume deleted", "volume", order.ID, "collection", order.Collection)
	s.beat.kick()
	httpx.JSON(ctx, fasthttp.StatusOK, struct{}{})
}

func (s *Server) remove(id blob.VolumeID, collection string) error {
	if v, ok := s.store.Volume(id); ok && v.Collection() == collection {
		s.node.Close(id)
		s.plain.Delete(id)
	}
	return s.store.Delete(id, collection)
}

// postMark sets or clears the operator's read-only mark.
func (s *Server) postMark(ctx *fasthttp.RequestCtx) {
	var order wire.MarkVolume
	if err := s.readOrder(ctx, &order); err != nil {
		s.fail(ctx, err)
		return
	}
	v, err := s.volume(blob.VolumeID(order.ID))
	if err != nil {
		s.fail(ctx, err)
		return
	}
	if err := v.SetReadOnly(storage.CauseOperator, order.ReadOnly); err != nil {
		s.fail(ctx, err)
		return
	}
	s.beat.kick()
	s.answerVolume(ctx, v.ID())
}
