package httprange

// nextElement cuts the first element, without the blanks around it, off a comma-separated list.
func nextElement(list []byte) (element, rest []byte) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	if i < len(list) {
		rest = list[i+1:]
	}
	return trimBlanks(list[:i]), rest
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// equalFold compares with a text that is ASCII in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
