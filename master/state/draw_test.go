package state

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"weed/internal/blob"
)

// commands draws logs over a few volumes, servers and tokens: mostly sensible commands that get in each
// other's way, some at the edges, some nonsense.
func commands() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Map(rapid.Uint64Range(0, 5000), func(n uint64) []byte { return LeaseKeys(n).Bytes() }),
		rapid.Map(rapid.Uint64(), func(n uint64) []byte { return LeaseKeys(n).Bytes() }),
		rapid.Map(rapid.Uint64Range(0, 100_000), func(n uint64) []byte { return RaiseKeys(blob.Key(n)).Bytes() }),
		rapid.Map(rapid.Uint64(), func(n uint64) []byte { return RaiseKeys(blob.Key(n)).Bytes() }),
		rapid.Map(rapid.Uint32Range(0, 10), func(n uint32) []byte { return AllocateVolumeIDs(n).Bytes() }),
		rapid.Map(rapid.Uint32Range(0, 20), func(n uint32) []byte { return RaiseVolumeID(blob.VolumeID(n)).Bytes() }),
		rapid.Map(rapid.Byte(), func(b byte) []byte { return SetClusterID(ClusterID{15: b}).Bytes() }),
		rapid.SliceOfN(rapid.Byte(), 0, 20),
		aboutRecords(), aboutRecords(), aboutRecords(), aboutRecords(), aboutRecords(), // most commands are about records
	)
}

// aboutRecords draws a command about volumes or servers.
func aboutRecords() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Custom(drawCreate), rapid.Custom(drawAdopt), rapid.Custom(drawStates), rapid.Custom(drawStates),
		rapid.Custom(drawStates), rapid.Custom(drawRegroup), rapid.Custom(drawRegroup), rapid.Custom(drawRemove),
		rapid.Custom(drawPutServer), rapid.Custom(drawPutServer), rapid.Custom(drawPutServer),
		rapid.Map(drawnServer(), func(id ServerID) []byte { return RemoveServer(id).Bytes() }),
		rapid.Custom(func(t *rapid.T) []byte {
			return SetDraining(drawnServer().Draw(t, "server"), rapid.Bool().Draw(t, "draining")).Bytes()
		}),
	)
}

var drawnPlacements = []blob.Placement{{}, {}, {Servers: 1}, {DataCenters: 1, Racks: 1}}

func drawnServer() *rapid.Generator[ServerID] {
	return rapid.Map(rapid.IntRange(0, 4), func(i int) ServerID { return ServerID(fmt.Sprintf("10.0.0.%d:8080", i)) })
}

func drawnID() *rapid.Generator[blob.VolumeID] {
	return rapid.OneOf(
		rapid.Map(rapid.Uint32Range(1, 12), func(n uint32) blob.VolumeID { return blob.VolumeID(n) }),
		rapid.Just[blob.VolumeID](1<<16), rapid.Just[blob.VolumeID](1<<24+300),
	)
}

func drawnEpoch() *rapid.Generator[uint64] { return rapid.Uint64Range(1, 4) }

func drawnLayout() *rapid.Generator[Layout] {
	return rapid.Custom(func(t *rapid.T) Layout {
		return Layout{
			Collection:  rapid.SampledFrom([]string{"", "a", "b", "pictures_2026"}).Draw(t, "collection"),
			Placement:   rapid.SampledFrom(drawnPlacements).Draw(t, "placement"),
			TTL:         rapid.SampledFrom([]blob.TTL{{}, {Count: 3, Unit: blob.TTLDay}}).Draw(t, "ttl"),
			DiskVersion: 3,
		}
	})
}

// drawnGroup draws a group of n members, or of some for 0; now and then one that is none.
func drawnGroup(n int) *rapid.Generator[Group] {
	return rapid.Custom(func(t *rapid.T) Group {
		least, most := n, n
		if n == 0 {
			least, most = 1, 3
		}
		g := Group{Members: rapid.SliceOfNDistinct(drawnServer(), least, most, rapid.ID).Draw(t, "members")}
		g.Primary = rapid.SampledFrom(g.Members).Draw(t, "primary")
		switch rapid.IntRange(0, 40).Draw(t, "flaw") {
		case 0:
			g.Primary = "10.9.9.9:8080"
		case 1:
			g.Members = append(g.Members, g.Members[0])
		}
		return g
	})
}

func drawnBatch[E any](t *rapid.T, element *rapid.Generator[E], id func(E) blob.VolumeID) []E {
	return rapid.SliceOfNDistinct(element, 1, 4, id).Draw(t, "batch")
}

func drawCreate(t *rapid.T) []byte {
	token := Token{15: rapid.ByteRange(0, 12).Draw(t, "token")}
	layout := drawnLayout().Draw(t, "layout")
	groups := rapid.SliceOfN(drawnGroup(layout.Copies()), 1, 3).Draw(t, "groups")
	return CreateVolumes(token, layout, groups).Bytes()
}

func drawAdopt(t *rapid.T) []byte {
	return AdoptVolumes(drawnBatch(t, rapid.Custom(func(t *rapid.T) Volume {
		return Volume{
			ID: drawnID().Draw(t, "id"), Layout: drawnLayout().Draw(t, "layout"),
			State: rapid.SampledFrom([]VolumeState{Writable, ReadOnly}).Draw(t, "state"),
			Epoch: drawnEpoch().Draw(t, "epoch"), Group: drawnGroup(0).Draw(t, "group"),
		}
	}), func(v Volume) blob.VolumeID { return v.ID })).Bytes()
}

func drawStates(t *rapid.T) []byte {
	steps := []StateChange{
		{From: Creating, To: Writable}, {From: Creating, To: Deleting}, {From: Writable, To: ReadOnly},
		{From: ReadOnly, To: Writable}, {From: Writable, To: Deleting}, {From: ReadOnly, To: Deleting},
	}
	return SetStates(drawnBatch(t, rapid.Custom(func(t *rapid.T) StateChange {
		c := rapid.SampledFrom(steps).Draw(t, "step")
		c.ID, c.Epoch = drawnID().Draw(t, "id"), drawnEpoch().Draw(t, "epoch")
		return c
	}), func(c StateChange) blob.VolumeID { return c.ID })).Bytes()
}

func drawRegroup(t *rapid.T) []byte {
	return Reconfigure(drawnBatch(t, rapid.Custom(func(t *rapid.T) GroupChange {
		return GroupChange{drawnID().Draw(t, "id"), drawnEpoch().Draw(t, "epoch"), drawnGroup(0).Draw(t, "group")}
	}), func(c GroupChange) blob.VolumeID { return c.ID })).Bytes()
}

func drawRemove(t *rapid.T) []byte {
	return RemoveVolumes(drawnBatch(t, drawnID(), rapid.ID)).Bytes()
}

func drawPutServer(t *rapid.T) []byte {
	return PutServer(Server{
		ID: drawnServer().Draw(t, "server"), PublicURL: "example.org:80",
		DataCenter: rapid.SampledFrom([]string{"dc1", "dc2"}).Draw(t, "dc"), Rack: "r", Slots: 7,
	}).Bytes()
}

// text makes results comparable: by what they say.
func text(result any) string {
	switch r := result.(type) {
	case error:
		return "error: " + r.Error()
	case *Server:
		return fmt.Sprintf("%+v", *r)
	case []Outcome:
		var all strings.Builder
		for _, o := range r {
			fmt.Fprintf(&all, "%s error %v\n", volumeText(o.Volume), o.Err)
		}
		return all.String()
	default:
		return fmt.Sprintf("%T %v", r, r)
	}
}

func volumeText(v *Volume) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *v)
}
