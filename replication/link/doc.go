// Package link carries the messages of package replication between servers, over TCP connections that stay.
//
// It owns the connections, the frames on them and the memory in between. It knows no volume, log or
// configuration: bytes to send come from a Source, what arrives goes to a Handler. It promises nothing that the
// protocol does not need: a frame may be lost, and frames of two connections may overtake each other, but what is
// handed over is what was sent.
//
// Each server dials the others, writes on the connections that it dialled and reads on those that it accepted. So
// there is one connection for each direction of a pair, and neither end waits for the other's answers.
//
// # Invariants
//
//   - Send never waits for another server. A few small frames it writes itself when nothing is before them, as far as
//     the connection takes them at once; the rest is for the writer, and for it there is a queue.
//   - A queue is bounded in frames, and does not hold the bytes of appends: the writer reads them from the log when
//     their turn comes.
//   - A writer takes all that waits and writes it by one system call. Nothing is delayed for the sake of that.
//   - Frames in memory that the Handler has not released are bounded for each connection; at the bound the reader
//     waits, and TCP makes the sender wait.
//   - The Handler's calls for one server do not overlap, and none goes on after Close. Only a Flush that takes long is
//     left behind: another reader goes on meanwhile.
//   - Steady traffic allocates nothing.
//
// # Frames
//
// Little endian. A frame that breaks these rules ends its connection.
//
//	crc32c  u32   of all that follows
//	size    u32   of body, at most MaxFrame - 8
//	body:
//	  1     u8    a message of a volume
//	  kind  u8
//	  parts u8    1: config, 2: history
//	  0     u8
//	  volume u32; epoch, round, life, complete u64; offset, length, committed i64
//	  config:  uvarint epoch, copies; string primary; uvarint n, n strings members
//	  history: uvarint n, n times (uvarint epoch, varint start)
//	  bytes of an append, to the end of the frame
//
//	  2     u8    a message about leases
//	  kind  u8
//	  parts u8    1: listed, 2: granted
//	  0     u8
//	  life, seq, hash u64
//	  uvarint n, n times (uvarint volume, uvarint epoch) claims
//	  uvarint n, n uvarints except
//
// A string is a uvarint and so many bytes. Varints are as short as they can be, so a frame has one encoding.
//
// # Connections
//
// A connection begins as an HTTP/1.1 request (Upgrade) that the other's front end answers with 101 after it has
// asked Accept; from then on there are frames, in the direction of the request only.
//
// For each server that it sends to there is a writer goroutine, and one that waits for the end of the connection.
// Reading is done by those who call Serve, and by whoever replaces one that is stuck.
//
// # Use
//
//	links := link.New(link.Config{Self: "10.0.0.1:8080", Source: logs, Handler: groups})
//	links.Send("10.0.0.2:8080", link.Frame{Volume: 7, Message: m})
//
//	from, err := links.Accept(upgrade, host, sender) // what the headers of a request to wire.PathReplicate say
//	...                                              // 101 Switching Protocols
//	err = links.Serve(conn, from)
//
//	err = links.Close()
package link
