package volume

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"
)

// pairPrefix marks the request headers that are kept with a blob. It is spelled as the server's parser
// normalises names.
const pairPrefix = "Seaweed-"

// pairsOf gathers the Seaweed-* headers as a JSON object, without the prefix; nil if there are none. Of a
// repeated header the first counts.
func pairsOf(h *fasthttp.RequestHeader) ([]byte, error) {
	if text, ok := onePair(h); ok {
		return text, nil
	}
	var pairs map[string]string
	for name, value := range h.All() {
		if len(name) <= len(pairPrefix) || string(name[:len(pairPrefix)]) != pairPrefix {
			continue
		}
		if pairs == nil {
			pairs = map[string]string{}
		}
		if _, repeated := pairs[string(name[len(pairPrefix):])]; !repeated {
			pairs[string(name[len(pairPrefix):])] = string(value)
		}
	}
	if pairs == nil {
		return nil, nil
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("%w: the Seaweed-* headers can't be kept: %w", errParameter, err)
	}
	return text, nil
}

// onePair is pairsOf where there is none, or just one of plain characters, as every chunk of a filer has it; ok is
// false for more.
func onePair(h *fasthttp.RequestHeader) (text []byte, ok bool) {
	for name, value := range h.All() {
		if len(name) <= len(pairPrefix) || string(name[:len(pairPrefix)]) != pairPrefix {
			continue
		}
		name = name[len(pairPrefix):]
		if text != nil || !isWord(name) || !isWord(value) {
			return nil, false
		}
		text = make([]byte, 0, len(name)+len(value)+len(`{"":""}`))
		text = append(append(text, `{"`...), name...)
		text = append(append(text, `":"`...), value...)
		text = append(text, `"}`...)
	}
	return text, true
}

// isWord reports whether JSON spells b as it is.
func isWord(b []byte) bool {
	for _, c := range b {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// pairOf returns the value of one pair, "" if there is none.
func pairOf(pairs []byte, name string) string {
	if len(pairs) == 0 {
		return ""
	}
	var m map[string]string
	if json.Unmarshal(pairs, &m) != nil {
		return "" // a foreign needle's
	}
	return m[name]
}

// setPairs returns what the uploader's Seaweed-* headers have become: headers without that prefix.
func setPairs(h *fasthttp.ResponseHeader, pairs []byte) {
	if len(pairs) == 0 {
		return
	}
	var m map[string]string
	if json.Unmarshal(pairs, &m) != nil {
		return // a foreign needle's; the blob itself is good
	}
	for name, value := range m {
		if safePair(name, value) {
			h.Set(name, value)
		}
	}
}

// reservedHeaders are not the uploader's to set, in lower case: they frame the answer, say what the server
// knows better, or bind the client beyond this one blob. So are all that begin with "proxy-".
var reservedHeaders = map[string]bool{
	"accept-ranges": true, "alt-svc": true, "clear-site-data": true, "connection": true,
	"content-disposition": true, "content-encoding": true, "content-length": true, "content-range": true,
	"content-type": true, "date": true, "etag": true, "keep-alive": true, "last-modified": true,
	"location": true, "public-key-pins": true, "retry-after": true, "server": true, "set-cookie": true,
	"set-cookie2": true, "strict-transport-security": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "vary": true, "www-authenticate": true,
}

// safePair says whether a pair may become a header: a name that is not reserved, of letters, digits, - and _,
// and a value without control characters.
func safePair(name, value string) bool {
	lower := strings.ToLower(name)
	if name == "" || reservedHeaders[lower] || strings.HasPrefix(lower, "proxy-") {
		return false
	}
	for i := range len(name) {
		if c := lower[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; isControl(c) && c != '\t' {
			return false
		}
	}
	return true
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }
