package storage

import (
	"fmt"

	"weed/storage/index"
)

// loadIdx fills the index from `.idx`. An index file that belongs to another log is forgotten as a whole; so
// is one of another program that is damaged or cut short, as the order of its entries tells nothing.
func (r *recovery) loadIdx(datLength int64) (idxLoad, error) {
	v := r.v
	check := idxCheck{version: v.superblock.Version, firstNeedle: v.superblock.Length(), datLength: datLength}
	switch {
	case !r.adopted():
		check.looseBytes = unknownLength
	case v.foreign:
		check.looseBytes, check.looseLength = v.meta.Clean.IdxBytes, v.meta.Clean.DatBytes
	}
	stored := readSums(v.fs, v.base+".sum")
	r.sums = &sumCheck{sums: newSums(v.fs, v.base+".sum"), stored: stored, inFile: len(stored), dat: v.dat(),
		version: v.superblock.Version, looseBytes: check.looseBytes}
	check.sums = r.sums
	loader := index.NewLoader()
	load, err := loadIdx(r.idx, check, func(e idxEntry) { e.loadInto(loader) })
	if err != nil {
		return load, err
	}
	bad := load.goodBytes < check.looseBytes && (load.rejected || r.adopted())
	if !bad && load.last != (idxEntry{}) {
		// A header alone may have been damaged; two that differ are those of another log.
		ofThisLog, err := v.pointsToItsNeedle(load.last)
		if err == nil && !ofThisLog && load.before != (idxEntry{}) {
			ofThisLog, err = v.pointsToItsNeedle(load.before)
		}
		if err != nil {
			return load, err
		}
		bad = !ofThisLog
	}
	if !bad && load.last != (idxEntry{}) && v.meta.Elsewhere && !v.meta.Synced {
		// What the index file knows was not synced either, and comes from the other copies if it is gone.
		last := newLogScanner(v.dat(), v.superblock.Version, datLength)
		_, verdict, err := last.check(int64(load.last.offset) * needleAlignment)
		if err != nil {
			return load, err
		}
		bad = verdict != recordGood
	}
	if v.meta.Synced && (load.beyond || bad) {
		// Entries follow a sync of what they point at, so the log has lost its end since.
		r.lost = load.beyond
		if bad && load.first != load.last && load.first != load.before {
			if r.lost, err = v.pointsToItsNeedle(load.first); err != nil {
				return load, err
			}
		}
		if r.lost {
			bad = false
			r.damaged(&CorruptError{v.dat().Name(), min(load.logEnd, datLength), "needles are missing from here on that the index file lists"})
		}
	}
	if !bad {
		v.publishIndex(loader)
		return load, nil
	}
	v.cfg.Logger.Warn("index file does not belong to the log, or is damaged, and is rebuilt", "volume", v.id)
	if v.foreign && r.adopted() && v.readOnly.load()&CauseFiles == 0 {
		// What is built now is a chain from its beginning, and must not be taken for the old file.
		if err := v.markClean(r.durable, 0); err != nil {
			return load, err
		}
	}
	r.sums = &sumCheck{sums: newSums(v.fs, v.base+".sum"), inFile: len(stored)}
	return idxLoad{logEnd: check.firstNeedle}, nil
}

func (e idxEntry) loadInto(loader *index.Loader) {
	if e.deleted() {
		loader.Delete(e.key)
	} else {
		loader.Put(e.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
}

// publishIndex makes what was loaded the index.
func (v *Volume) publishIndex(loader *index.Loader) {
	m, replaced := loader.Map()
	v.content.Store(newContent(v.dat(), m, v.Origin()))
	v.stats.deletedCount.Store(uint64(replaced.Count))
	v.stats.deletedBytes.Store(uint64(replaced.Bytes))
}

func (v *Volume) pointsToItsNeedle(e idxEntry) (bool, error) {
	var b [needleHeaderSize]byte
	err := readFull(v.dat(), b[:], int64(e.offset)*needleAlignment)
	h := parseHeader(b[:])
	return h.key == e.key && h.size == e.bodySize(), err
}

// openIdxWriter cuts what can't be believed off the index file and goes on from there.
func (r *recovery) openIdxWriter(goodBytes int64) {
	w := &idxWriter{f: r.idx, at: goodBytes, sums: r.sums.sums}
	r.idxWriter = w
	r.v.sums.Store(w.sums)
	if w.off = r.lost || r.v.readOnly.load()&CauseFiles != 0; w.off {
		w.sums = nil
		r.v.sums.Store(nil)
		return
	}
	w.sums.dropStale(r.sums.inFile)
	w.dirty = r.v.meta.Clean == nil || r.v.meta.Clean.IdxBytes != goodBytes
	size, err := r.idx.Size()
	if err == nil && size > goodBytes {
		// Durably, so that no crash brings back what is to be written over.
		if err = r.idx.Truncate(goodBytes); err == nil {
			err = r.idx.Sync()
		}
	}
	if err != nil {
		w.err = fmt.Errorf("cut %s: %w", r.idx.Name(), err)
		return
	}
	for _, m := range r.sums.mended {
		r.v.cfg.Logger.Warn("entries of the index file were damaged, and are mended", "volume", r.v.id, "offset", m.at)
		if n := min(int64(len(m.entries)), goodBytes-m.at); n > 0 {
			if _, err := r.idx.WriteAt(m.entries[:n], m.at); err != nil {
				w.err = fmt.Errorf("mend %s: %w", r.idx.Name(), err)
				return
			}
			w.dirty = true
		}
	}
}

// completeIdx writes the entries that the scan has found. The entries of another program are made durable
// and marked before ours come behind them: the two are judged by different rules.
func (r *recovery) completeIdx() error {
	v := r.v
	if r.adopted() || r.idxWriter.off {
		return r.idxWriter.flush()
	}
	if err := r.idxWriter.sync(); err != nil || v.readOnly.load()&CauseDamaged != 0 {
		return err
	}
	return v.markClean(r.end, r.idxWriter.at)
}
