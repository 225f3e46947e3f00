package httprange

import (
	"time"
)

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
	fixedDate  = "Sun, 06 Nov 1994 08:49:37 GMT"
)

// The dates that four digits of a year can write.
const (
	minDate = -62135596800 // 0001-01-01T00:00:00Z
	maxDate = 253402300799 // 9999-12-31T23:59:59Z
)

// AppendDate appends an HTTP date in the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`, without allocating
// beyond dst. Times outside the years 1 to 9999 become the nearest one inside.
func AppendDate(dst []byte, unixSeconds int64) []byte {
	t := time.Unix(min(max(unixSeconds, minDate), maxDate), 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	weekday := int(t.Weekday())
	dst = append(dst, dayNames[3*weekday:3*weekday+3]...)
	dst = append(dst, ',', ' ')
	dst = append2(dst, day)
	dst = append(dst, ' ')
	dst = append(dst, monthNames[3*month-3:3*month]...)
	dst = append(dst, ' ')
	dst = append2(dst, year/100)
	dst = append2(dst, year%100)
	dst = append(dst, ' ')
	dst = append2(dst, hour)
	dst = append(dst, ':')
	dst = append2(dst, minute)
	dst = append(dst, ':')
	dst = append2(dst, second)
	return append(dst, " GMT"...)
}

func append2(dst []byte, n int) []byte {
	return append(dst, '0'+byte(n/10), '0'+byte(n%10))
}

// ParseDate reads an HTTP date in any of the three forms of RFC 9110 section 5.6.7 and returns unix seconds.
// Two-digit years count from 1969 to 2068. The day's name is not held against the date.
func ParseDate(b []byte) (unixSeconds int64, ok bool) {
	b = trimBlanks(b)
	if len(b) == len(fixedDate) && b[3] == ',' {
		return parseFixed(b)
	}
	if len(b) > len("Wednesday, 06-Nov-94 08:49:37 GMT") {
		return 0, false
	}
	text := string(b)
	t, err := time.Parse(time.ANSIC, text)
	if err != nil {
		// time.RFC850 would take any abbreviation for a zone.
		t, err = time.Parse("Monday, 02-Jan-06 15:04:05 GMT", text)
	}
	if err != nil {
		return 0, false
	}
	return t.Unix(), true
}

// parseFixed reads the preferred form; b has its length.
func parseFixed(b []byte) (unixSeconds int64, ok bool) {
	for i := range len(fixedDate) {
		// Whatever is no letter and no digit in the pattern stands at its place in every date.
		if c := fixedDate[i]; (c == ' ' || c == ',' || c == ':') && b[i] != c {
			return 0, false
		}
	}
	day, okDay := number(b[5:7])
	century, okCentury := number(b[12:14])
	years, okYears := number(b[14:16])
	hour, okHour := number(b[17:19])
	minute, okMinute := number(b[20:22])
	second, okSecond := number(b[23:25])
	month := nameIndex(monthNames, b[8:11]) + 1
	year := 100*century + years
	if !okDay || !okCentury || !okYears || !okHour || !okMinute || !okSecond || string(b[26:]) != "GMT" ||
		nameIndex(dayNames, b[:3]) < 0 || month < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // the month is shorter, or the day is 0
		return 0, false
	}
	return t.Unix(), true
}

func number(b []byte) (n int, ok bool) {
	tens, ones := b[0]-'0', b[1]-'0'
	return int(tens)*10 + int(ones), tens <= 9 && ones <= 9
}

// nameIndex returns the place of a three-letter name among names, -1 if it is none of them.
func nameIndex(names string, name []byte) int {
	for i := 0; i < len(names); i += 3 {
		if names[i:i+3] == string(name) {
			return i / 3
		}
	}
	return -1
}
