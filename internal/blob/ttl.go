package blob

import (
	"strconv"
	"time"
)

// TTL is a time to live of Count units. The zero TTL means "for ever".
type TTL struct {
	Count uint8
	Unit  TTLUnit
}

// TTLUnit is the superblock's code of a unit.
type TTLUnit uint8

// The units, as stored in superblocks and needles.
const (
	TTLNone TTLUnit = iota
	TTLMinute
	TTLHour
	TTLDay
	TTLWeek
	TTLMonth // 30 days
	TTLYear  // 365 days
)

var ttlUnits = [...]struct {
	letter   byte
	duration time.Duration
}{
	TTLMinute: {'m', time.Minute},
	TTLHour:   {'h', time.Hour},
	TTLDay:    {'d', 24 * time.Hour},
	TTLWeek:   {'w', 7 * 24 * time.Hour},
	TTLMonth:  {'M', 30 * 24 * time.Hour},
	TTLYear:   {'y', 365 * 24 * time.Hour},
}

// ParseTTL reads `3m 4h 5d 6w 7M 8y`; a bare number counts minutes; the empty text and 0 mean none.
// The count goes up to 255.
func ParseTTL(s string) (TTL, error) {
	if s == "" {
		return TTL{}, nil
	}
	unit, digits := TTLMinute, s
	if last := s[len(s)-1]; last < '0' || last > '9' {
		unit, digits = TTLNone, s[:len(s)-1]
		for u := TTLMinute; u <= TTLYear; u++ {
			if ttlUnits[u].letter == last {
				unit = u
			}
		}
	}
	count, ok := parseDecimal(digits)
	if !ok || unit == TTLNone || count > 255 {
		return TTL{}, malformed("ttl (a count up to 255 and one of m h d w M y)", s)
	}
	if count == 0 {
		return TTL{}, nil
	}
	return TTL{Count: uint8(count), Unit: unit}, nil
}

// TTLFromBytes decodes the two bytes of superblocks and needles; an unknown unit or a zero count is none.
func TTLFromBytes(count, unit byte) TTL {
	if count == 0 || unit == 0 || TTLUnit(unit) > TTLYear {
		return TTL{}
	}
	return TTL{Count: count, Unit: TTLUnit(unit)}
}

// Bytes returns the stored form: count, unit.
func (t TTL) Bytes() (count, unit byte) { return t.Count, byte(t.Unit) }

// IsZero reports whether the TTL means "for ever", as one without a known unit does.
func (t TTL) IsZero() bool { return t.Count == 0 || t.Unit == TTLNone || t.Unit > TTLYear }

// Duration returns the length of the TTL, 0 for none.
func (t TTL) Duration() time.Duration {
	if t.IsZero() {
		return 0
	}
	return time.Duration(t.Count) * ttlUnits[t.Unit].duration
}

// String returns the text form, "" for none.
func (t TTL) String() string {
	if t.IsZero() {
		return ""
	}
	return strconv.Itoa(int(t.Count)) + string(ttlUnits[t.Unit].letter)
}
