package storage

// restsCopied compares the runs of records that a compaction copies with what is known of them: in the copy they have
// other neighbours and get new sums, so that what has flipped would count as written from then on.
type restsCopied struct {
	sums *sums // of the log that is copied; nil: nothing is known
	run  RestBlock
	from int // the number that the first record of the run has in the copy, of those that are not compacted
}

// begin takes in the records of the run that is under way where the copying of all records begins.
func (k *restsCopied) begin(scanner *logScanner, number int, run []idxEntry) {
	k.run.Number = number
	for _, e := range run {
		at := int64(e.offset) * needleAlignment
		k.pass(scanner.rest(at, recordLength(scanner.version, e.bodySize())))
	}
}

// pass takes in the rest of the next record, and reports whether the run is over with it.
func (k *restsCopied) pass(rest uint32) (over bool) {
	if k.run.Records == 0 {
		k.run.Here = firstRest
	}
	k.run.Records, k.run.Here = k.run.Records+1, foldRest(k.run.Here, rest)
	return k.run.Records == sumRecords
}

// wrong reports whether the records of the run that were passed are not what was written.
func (k *restsCopied) wrong() bool {
	if k.sums == nil || k.run.Records == 0 {
		return false
	}
	sum, doubted := k.sums.rests(k.run.Number, k.run.Records)
	return sum != 0 && !doubted && sum != k.run.Here
}

// doubted reports whether nobody knows what the records of the run that is under way should be.
func (k *restsCopied) doubted() bool { return k.sums == nil || k.sums.doubtedAt(k.run.Number) }

// passRest takes in the next record that is copied, whose entry is e.
func (x *compaction) passRest(e idxEntry) {
	if x.rests.doubted() {
		x.idx.sums.doubt()
	}
	x.idx.add(e)
	if x.rests.pass(e.rest) {
		x.judgeRests()
		x.rests.run = RestBlock{Number: x.rests.run.Number + 1}
		x.rests.from = x.idx.sums.records()
	}
}

// judgeRests makes that the sums of what has flipped are not known of the copy, so that it is mended by what another
// one has.
func (x *compaction) judgeRests() {
	if x.rests.wrong() {
		x.v.cfg.Logger.Warn("headers, attributes or times of a volume's records are not what was written, for a scrub to mend",
			"volume", x.v.id, "records", x.rests.run.Records)
		x.idx.sums.forget(x.rests.from)
	}
}
