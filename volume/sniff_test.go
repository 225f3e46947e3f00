package volume

import (
	"net/http"
	"testing"
)

func FuzzSniff(f *testing.F) {
	for _, seed := range []string{
		"", "text", "\x00", "  <html>", "\n<!DOCTYPE HTML ", "<?xml ", "%PDF-", "%!PS-Adobe-", "\xfe\xff\x00\x00", "\xff\xfea\x00", "\xef\xbb\xbfa",
		"\x00\x00\x01\x00", "\x00\x00\x02\x00", "BM", "GIF87a", "GIF89a", "RIFF\x00\x00\x00\x00WEBPVP", "RIFF....AVI ", "RIFF....WAVE",
		"\x89PNG\r\n\x1a\n", "\xff\xd8\xff", "FORM....AIFF", "ID3", "OggS\x00", "MThd\x00\x00\x00\x06", "\x00\x00\x00\x18ftypmp42....mp42....",
		"aaa\x10ftypmp42....", "\x1a\x45\xdf\xa3", "abcdefghijklmnopqrstuvwxyz01234567LP", "\x80bcdefghijklmnopqrstuvwxyz01234567LP", "\x00\x01\x00\x00",
		"OTTO", "ttcf", "wOFF", "wOF2", "\x1f\x8b\x08", "PK\x03\x04", "Rar!\x1a\x07\x00", "Rar!\x1a\x07\x01\x00", "\x00asm", ".snd", " \x00", "\x0ctext", "\x1btext",
		"\x7f", "\x80\x81", "a\x0b", "caf\xc3\xa9",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := sniff(data), http.DetectContentType(data); got != want {
			t.Errorf("%q: %s, want %s", data, got, want)
		}
	})
}

// Every beginning of two bytes, before text and before bytes that are none.
func TestSniffAgreesWithTheStandard(t *testing.T) {
	for _, rest := range []string{"", "text that goes on, \x00"} {
		for i := range 1 << 16 {
			data := append([]byte{byte(i >> 8), byte(i)}, rest...)
			if got, want := sniff(data), http.DetectContentType(data); got != want {
				t.Fatalf("%q: %s, want %s", data, got, want)
			}
		}
	}
	for _, size := range []int{511, 512, 513, 600} {
		data := make([]byte, size)
		for i := range data {
			data[i] = 'a'
		}
		data[size-1] = 0
		if got, want := sniff(data), http.DetectContentType(data); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}
