package client

import (
	"encoding/json"
	"testing"
)

// FuzzDecodeUpload compares the reader by hand with encoding/json: what it takes, both read alike.
func FuzzDecodeUpload(f *testing.F) {
	for _, text := range []string{
		`{"name":"a.txt","size":15,"eTag":"50b06241","mime":"text/plain"}`,
		`{"name":"","size":0,"eTag":""}`,
		`{"name":"","size":01,"eTag":""}`,
		`{"name":"","size":-1,"eTag":"x"}`,
		`{"name":"","size":-01,"eTag":"x"}`,
		`{"name":"","size":+1,"eTag":"x"}`,
		`{"name":"a\"b","size":1,"eTag":"x"}`,
		`{"name":"é","size":1,"eTag":"x"}`,
		`{"name":"a","size":1,"eTag":"x","mime":"y"}}`,
		`{"name":"a","size":1,"eTag":"x","error":"y"}`,
		`{"name":"a","size":1,"eTag":"x"`,
		`{"size":1,"name":"a","eTag":"x"}`,
		`{"name":"a","size":1e3,"eTag":"x"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want UploadResult
		err := json.Unmarshal(body, &want)
		if parseUpload(body, &got) && (err != nil || got != want) {
			t.Fatalf("%q is read as %+v, want %+v, %v", body, got, want, err)
		}
		if got = (UploadResult{}); decodeUpload(body, &got) == nil != (err == nil) || err == nil && got != want {
			t.Fatalf("%q is decoded as %+v, want %+v, %v", body, got, want, err)
		}
	})
}

func TestUploadAnswerIsReadByHand(t *testing.T) {
	var res UploadResult
	if !parseUpload([]byte(`{"name":"a","size":15,"eTag":"50b06241","mime":"text/plain"}`), &res) ||
		res != (UploadResult{Name: "a", Size: 15, ETag: "50b06241", Mime: "text/plain"}) {
		t.Errorf("%+v", res)
	}
}
