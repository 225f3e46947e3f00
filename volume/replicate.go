package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/replication"
	"weed/replication/link"
	"weed/replication/live"
	"weed/storage"
)

// makeReplication prepares the server's part in the groups of its replicated volumes.
func (s *Server) makeReplication() {
	s.links = link.New(link.Config{Self: replication.Server(s.cfg.URL), Source: logSource{s}, Handler: frames{s}, Logger: s.cfg.Logger})
	s.node = live.New(live.Config{
		Self: replication.Server(s.cfg.URL), Links: s.links, Masters: configurator{s}, Logger: s.cfg.Logger,
		Lease: s.cfg.Lease, Changed: func(blob.VolumeID) { s.beat.kick() },
	})
}

// openReplicas takes up the server's part in the groups of the volumes that it has. One that is to have several
// copies and kept nothing, because its .meta was lost or left behind, is outside its group until it is told better.
func (s *Server) openReplicas() error {
	for _, status := range s.store.Volumes() {
		v, ok := s.store.Volume(status.ID)
		if !ok || v.Kept() == nil && v.Placement().Copies() == 1 {
			continue
		}
		if _, err := s.node.Open(v, nil); err != nil {
			return err
		}
	}
	return nil
}

// logSource reads the bytes that are shipped.
type logSource struct{ s *Server }

func (l logSource) ReadLog(id blob.VolumeID, offset int64, p []byte, of *replication.Origin) (int, error) {
	v, ok := l.s.store.Volume(id)
	if !ok {
		return 0, storage.ErrNoVolume
	}
	return live.ReadLog(v, offset, p, of)
}

// frames takes what other servers send.
type frames struct{ s *Server }

func (f frames) Receive(from replication.Server, frame link.Frame) {
	if frame.Lease == nil && frame.Message.Kind == replication.MsgSync && f.s.node.Replica(frame.Volume) == nil {
		f.s.joinGroup(frame.Volume)
	}
	f.s.node.Receive(from, frame)
}

func (f frames) Flush(from replication.Server) { f.s.node.Flush(from) }

// joinGroup makes a volume a replicated one, because its primary wants to bring it to its log.
func (s *Server) joinGroup(id blob.VolumeID) {
	v, ok := s.store.Volume(id)
	if !ok {
		return
	}
	if _, err := s.node.Open(v, nil); err != nil {
		s.cfg.Logger.Error("volume can't be replicated", "volume", id, "err", err)
	}
}

// configurator asks the masters.
type configurator struct{ s *Server }

func (c configurator) Configure(ctx context.Context, id blob.VolumeID, config replication.Config) (replication.Config, error) {
	var inForce wire.VolumeConfig
	err := c.s.client.PostJSON(ctx, c.s.beat.leader(), wire.PathConfigure, wireConfig(id, config), &inForce)
	return configOf(inForce), err
}

func wireConfig(id blob.VolumeID, c replication.Config) wire.VolumeConfig {
	w := wire.VolumeConfig{ID: uint32(id), Epoch: c.Epoch, Primary: string(c.Primary), Copies: c.Copies}
	for _, m := range c.Members {
		w.Members = append(w.Members, string(m))
	}
	return w
}

func configOf(w wire.VolumeConfig) replication.Config {
	c := replication.Config{Epoch: w.Epoch, Primary: replication.Server(w.Primary), Copies: w.Copies}
	for _, m := range w.Members {
		c.Members = append(c.Members, replication.Server(m))
	}
	return c
}

// configured takes a configuration that the master has on record. A volume of one copy, which is here, needs no
// group.
func (s *Server) configured(w wire.VolumeConfig) {
	id, c := blob.VolumeID(w.ID), configOf(w)
	self := replication.Server(s.cfg.URL)
	r := s.node.Replica(id)
	if r == nil {
		if c.Copies <= 1 && len(c.Members) == 1 && c.Primary == self {
			before, known := s.plain.Swap(id, c)
			if !known || before.(replication.Config).Epoch != c.Epoch {
				s.beat.kick() // until the master hears of it, nothing is assigned to the volume
			}
			return
		}
		s.joinGroup(id)
		if r = s.node.Replica(id); r == nil {
			return
		}
	}
	r.Configured(c)
}

// epochOf returns what the masters are told of a copy's standing.
func (s *Server) epochOf(id blob.VolumeID) (epoch, wholeIn uint64, inSync bool) {
	if r := s.node.Replica(id); r != nil {
		status := r.Status()
		return status.Config.Epoch, status.WholeIn, status.InSync
	}
	if c, ok := s.plain.Load(id); ok {
		epoch = c.(replication.Config).Epoch
	}
	return epoch, 0, true
}

// getReplicate begins a connection on which another server sends.
func (s *Server) getReplicate(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	from, err := s.links.Accept(string(h.Peek(fasthttp.HeaderUpgrade)), string(ctx.Host()), string(h.Peek(fasthttp.HeaderFrom)))
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	httpx.Hijack(ctx, link.Protocol, func(conn net.Conn) {
		if err := s.links.Serve(conn, from); err != nil && !errors.Is(err, link.ErrReplaced) && !errors.Is(err, link.ErrClosed) {
			s.cfg.Logger.Warn("replication connection ended", "from", from, "err", err)
		}
	})
}

// postCopies carries out an order to change who holds a volume.
func (s *Server) postCopies(ctx *fasthttp.RequestCtx) {
	var order wire.ChangeCopies
	if err := s.readOrder(ctx, &order); err != nil {
		s.fail(ctx, err)
		return
	}
	id := blob.VolumeID(order.ID)
	v, err := s.volume(id)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	r := s.node.Replica(id)
	if c, known := s.plain.Load(id); r == nil && known {
		config := c.(replication.Config)
		if r, err = s.node.Open(v, &config); err != nil {
			s.fail(ctx, err)
			return
		}
	}
	if r == nil {
		s.fail(ctx, replication.ErrNotPrimary)
		return
	}
	err = r.Change(replication.Server(order.Add), replication.Server(order.Forget), replication.Server(order.Drop), replication.Server(order.Lead))
	if err != nil {
		s.fail(ctx, err)
		return
	}
	s.answerReplication(ctx, id)
}

// getReplication tells how a copy stands.
func (s *Server) getReplication(ctx *fasthttp.RequestCtx) {
	id, err := ctx.QueryArgs().GetUint("volumeId")
	if err != nil {
		s.fail(ctx, fmt.Errorf("%w volumeId: give the number of a volume", errParameter))
		return
	}
	s.answerReplication(ctx, blob.VolumeID(id))
}

var roleNames = map[replication.Role]string{replication.Primary: "primary", replication.Follower: "follower", replication.Outside: "outside"}

func (s *Server) answerReplication(ctx *fasthttp.RequestCtx, id blob.VolumeID) {
	v, err := s.volume(id)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	length, of := extentOf(v)
	answer := wire.ReplicationStatus{VolumeConfig: wire.VolumeConfig{ID: uint32(id)}, Role: roleNames[replication.Primary], InSync: true,
		Length: length, Committed: length, Generation: of}
	if r := s.node.Replica(id); r != nil {
		status := r.Look()
		answer.VolumeConfig = wireConfig(id, status.Config)
		answer.Role, answer.InSync = roleNames[status.Role], status.InSync
		answer.Length, answer.Committed = lengthIn(status), committedIn(status)
		answer.Generation = generation(storage.Origin(status.Origin))
		for _, l := range status.Learners {
			if answer.Learners == nil {
				answer.Learners = map[string]int64{}
			}
			answer.Learners[string(l.Server)] = max(l.Length-status.Origin.Skipped, 0)
		}
	} else if c, known := s.plain.Load(id); known {
		answer.VolumeConfig = wireConfig(id, c.(replication.Config))
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &answer)
}

const (
	// readPatience bounds how long a read waits for a copy to be sure of itself: a lease and what it takes to
	// leave a dead server out.
	readPatience = 5 * time.Second
	// passedOnHeader marks a write that another server has passed on to the primary.
	passedOnHeader = "Weed-Passed-On"
	// passTimeout bounds a write that is passed on, which the primary answers before.
	passTimeout = 15 * time.Second
)

// notPassedOn are the headers of a request that are not passed on: those of the connection.
var notPassedOn = map[string]bool{
	fasthttp.HeaderHost: true, fasthttp.HeaderConnection: true, fasthttp.HeaderContentLength: true,
	fasthttp.HeaderTransferEncoding: true, fasthttp.HeaderExpect: true, fasthttp.HeaderTE: true, fasthttp.HeaderUpgrade: true,
	fasthttp.HeaderContentType: true, "Keep-Alive": true,
}

// passedOn returns a request as it goes on to another server, without body.
func passedOn(ctx *fasthttp.RequestCtx) client.Request {
	r := client.Request{
		Method: string(ctx.Method()), Path: string(ctx.RequestURI()), Header: []client.Field{{Name: passedOnHeader, Value: "1"}},
	}
	for name, value := range ctx.Request.Header.All() {
		if !notPassedOn[string(name)] {
			r.Header = append(r.Header, client.Field{Name: string(name), Value: string(value)})
		}
	}
	return r
}

// passOn has the primary of a volume answer a write. It returns false if that is this server.
func (s *Server) passOn(ctx *fasthttp.RequestCtx, id blob.VolumeID, body []byte) bool {
	r := s.node.Replica(id)
	if r == nil || s.leads(id) {
		return false
	}
	if r.Status().Config.Primary == "" || len(ctx.Request.Header.Peek(passedOnHeader)) > 0 {
		s.fail(ctx, replication.ErrNotPrimary)
		return true
	}
	request := passedOn(ctx)
	request.Body, request.ContentType = body, string(ctx.Request.Header.ContentType())
	request.AnswerField = func(name, value []byte) {
		switch string(name) {
		case fasthttp.HeaderETag, fasthttp.HeaderRetryAfter, fasthttp.HeaderAcceptEncoding:
			ctx.Response.Header.SetBytesKV(name, value)
		}
	}
	within, cancel := context.WithTimeout(context.Background(), passTimeout)
	defer cancel()
	for {
		status := r.Status()
		request.Host = string(status.Config.Primary)
		code, answer, err := s.client.Forward(within, &request, nil)
		if err == nil {
			answerJSON(ctx, code, answer)
			return true
		}
		s.cfg.Logger.Warn("the primary of a volume did not answer", "volume", id, "primary", request.Host, "err", err)
		switch reached := !errors.Is(err, client.ErrNotReached); {
		case reached:
			s.fail(ctx, storage.ErrOutcomeUnknown)
			return true
		case !r.AwaitEpoch(status.Config.Epoch+1, readPatience): // that it is dead is about to be noticed
			s.fail(ctx, replication.ErrNotPrimary)
			return true
		case s.leads(id):
			return false
		}
	}
}

// current waits until a look at a key that follows finds all that was acknowledged before: the copy is in touch with
// the others, and what it does not know to be committed is settled. The order of the two matters. The error is
// storage.ErrWait.
func (s *Server) current(r *live.Replica, v *storage.Volume, key blob.Key) error {
	switch {
	case r == nil:
		return nil
	case !r.Readable() && !r.Await(readPatience):
		return storage.ErrWait
	}
	return v.Settled(key, readPatience)
}

// sureOf returns the volume of a blob if it is here and may be read at once.
func (s *Server) sureOf(id blob.FileID) (*storage.Volume, bool) {
	v, ok := s.store.Volume(id.Volume)
	if r := s.node.Replica(id.Volume); ok && r != nil {
		ok = r.Readable() && v.Settled(id.Key, 0) == nil
	}
	return v, ok
}

// leads reports whether this server takes the writes of a volume that is here.
func (s *Server) leads(id blob.VolumeID) bool {
	r := s.node.Replica(id)
	if r == nil {
		return true
	}
	status := r.Status()
	return status.Role == replication.Primary || string(status.Config.Primary) == s.cfg.URL
}

// unsureText is for readers of a copy that can't tell whether it has all that was acknowledged.
const unsureText = "this copy of the volume is not in touch with the others, or catches up with them: try again or ask a master for another one"

// redirectUnsure answers a read of a copy that can't be served.
func (s *Server) redirectUnsure(ctx *fasthttp.RequestCtx, r *live.Replica) {
	if r.Status().Role == replication.Outside {
		s.redirect(ctx, r.Volume())
		return
	}
	s.fail(ctx, storage.ErrWait)
}
