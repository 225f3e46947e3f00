package storage

// operation is one put or delete on its way through the committer.
type operation struct {
	needle *Needle
	delete bool
	sync   bool // durable before it is answered, whatever the policy
	rec    record
	entry  idxEntry
	// size is the content length in bytes of what a delete removes.
	size int64
	age  int  // in ticks of a Replicator
	sent bool // to other servers, so that it may come about there
	cut  place
	// byMate says that it is refused for what another operation of its commit does, which may yet fail.
	byMate bool
	// short is a put that comes about with less than its answer would promise.
	short bool
	err   error
	done  chan struct{} // capacity 1
}

// answer tells the caller what came of it. The operation is the caller's again.
func (op *operation) answer(err error) {
	op.err = err
	op.done <- struct{}{}
}

func (op *operation) release() {
	op.needle, op.rec.data = nil, nil
	if cap(op.rec.suffix) > 4<<10 {
		op.rec.suffix = nil
	}
	*op = operation{rec: record{suffix: op.rec.suffix[:0]}, done: op.done}
	operations.Put(op)
}

// contentSize is layout.contentSize for a put that is not on disk yet.
func (op *operation) contentSize() int64 {
	return ContentSize(op.needle.Data, op.needle.Gzipped)
}
