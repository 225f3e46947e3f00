package volume

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5 is what RFC 1864 uses
	"encoding/base64"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weed/internal/imaging"
)

// picture is noise, so that its size in bytes goes with its pixels.
func picture(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	copy(m.Pix, noise(len(m.Pix), 7))
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255
	}
	return m
}

func pngOf(t *testing.T, m image.Image) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// lying is a JPEG, red above blue, that is to be turned to the right: red comes to the right.
func lying(t *testing.T, w, h int) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{R: uint8(255 * (1 - y*2/h)), B: uint8(255 * (y * 2 / h)), A: 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	const exif = "\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
	return b.String()[:2] + exif + b.String()[2:]
}

// size returns width and height of a picture that was answered.
func (a *answer) size() [2]int {
	a.t.Helper()
	c, _, err := image.DecodeConfig(strings.NewReader(a.body))
	if err != nil {
		a.t.Fatalf("%s: %v", a.what, err)
	}
	return [2]int{c.Width, c.Height}
}

func TestResize(t *testing.T) {
	n := start(t, nil)
	original := pngOf(t, picture(200, 100))
	n.upload(fid, "a.png", original, "Content-Type", "image/png").want(201)
	whole := n.get(fid).want(200).is(original)
	for query, want := range map[string][2]int{
		"width=50": {50, 25}, "height=50": {100, 50}, "width=50&height=50": {50, 25}, "width=50&height=50&mode=fit": {50, 25},
		"width=50&height=50&mode=fill": {50, 50}, "width=0&height=10": {20, 10}, "width=2000000000&height=10": {20, 10},
	} {
		a := n.get(fid+"?"+query).want(200).has("Content-Type", "image/png", "Accept-Ranges", "bytes",
			"Last-Modified", whole.Header.Get("Last-Modified"), "Content-Disposition", `inline; filename="a.png"`)
		if got := a.size(); got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		if a.Header.Get("Etag") == whole.Header.Get("Etag") {
			t.Errorf("%s: the tag is the original's", query)
		}
	}
	for _, query := range []string{"width=200", "width=900&height=900", "width=900&height=900&mode=fill", "mode=fit", "width="} {
		n.get(fid+"?"+query).want(200).is(original).has("Etag", whole.Header.Get("Etag"))
	}
	for _, query := range []string{"width=x", "width=-1", "height=1.5", "width=99999999999", "width=5&mode=crop", "mode=x"} {
		n.get(fid + "?" + query).want(400).says("malformed parameter")
	}
}

func TestResizedAnswersConditionsAndRanges(t *testing.T) {
	n := start(t, nil)
	n.put(fid, pngOf(t, picture(600, 600))).want(201)
	path := fid + "?width=400"
	a := n.get(path).want(200)
	etag, modified := a.Header.Get("Etag"), a.Header.Get("Last-Modified")
	if len(a.body) < copyLimitBytes {
		t.Fatalf("only %d bytes", len(a.body))
	}
	n.get(path).want(200).is(a.body).has("Etag", etag)
	n.do("HEAD", path, "").want(200).has("Etag", etag, "Content-Length", strconv.Itoa(len(a.body)))
	n.get(path, "If-None-Match", etag).want(304).has("Etag", etag)
	n.get(path, "If-None-Match", n.get(fid).Header.Get("Etag")).want(200)
	n.get(fid, "If-None-Match", etag).want(200)
	n.get(path, "If-Modified-Since", modified).want(304)
	n.get(path, "If-Match", `"other"`).want(412)
	n.get(path, "Range", "bytes=10-19").want(206).is(a.body[10:20])
	n.get(path, "Range", "bytes=10-19", "If-Range", etag).want(206).is(a.body[10:20])
	n.get(path, "Range", "bytes=10-19", "If-Range", `"other"`).want(200).is(a.body)
	n.get(path, "Range", "bytes=0-0,-1").want(206)
	n.get(path, "Range", "bytes=99999999-").want(416)
	if !n.images.bytes.TryAcquire(imageBytes) {
		t.Error("not all memory was given back")
	}
}

func TestResizeLeavesOthersAlone(t *testing.T) {
	n := start(t, nil)
	text := strings.Repeat("no picture at all ", 100)
	n.upload(fid, "a.txt", text, "Content-Type", "text/plain").want(201)
	n.get(fid + "?width=x&mode=y").want(200).is(text)
	n.upload(fid, "a.png", text, "Content-Type", "image/png").want(201)
	n.get(fid + "?width=5").want(200).is(text)
	cut := pngOf(t, picture(50, 50))
	cut = cut[:len(cut)/2]
	n.put(fid, cut).want(201)
	n.get(fid + "?width=5").want(200).is(cut)
	if !n.images.bytes.TryAcquire(imageBytes) {
		t.Error("not all memory was given back")
	}
}

func TestResizeOfCompressedAndLarge(t *testing.T) {
	n := start(t, nil)
	m := image.NewRGBA(image.Rect(0, 0, 100, 100))
	n.put(fid, deflate(pngOf(t, m)), "Content-Encoding", "gzip").want(201)
	if got := n.get(fid+"?width=10").want(200).has("Content-Encoding", "").size(); got != [2]int{10, 10} {
		t.Error(got)
	}
	large := pngOf(t, picture(800, 700)) // is read from the disk
	n.put(fid, large).want(201)
	if got := n.get(fid + "?height=7").want(200).size(); got != [2]int{8, 7} {
		t.Error(got)
	}
}

func TestBombIsRefused(t *testing.T) {
	n := start(t, nil)
	bomb := []byte(pngOf(t, picture(8, 8)))
	binary.BigEndian.PutUint32(bomb[16:], 60000)
	binary.BigEndian.PutUint32(bomb[20:], 60000)
	n.put(fid, string(bomb)).want(201)
	n.get(fid + "?width=10").want(422).says("too large")
	n.get(fid).want(200).is(string(bomb))
}

func TestOrientationIsHonoured(t *testing.T) {
	n := start(t, nil)
	data := lying(t, 80, 40)
	n.upload(fid, "a.jpg", data, "Content-Type", "image/jpeg").want(201)
	n.get(fid).want(200).is(data)
	if got := n.get(fid + "?width=20").want(200).size(); got != [2]int{20, 40} {
		t.Error(got)
	}
}

func TestFixOrientation(t *testing.T) {
	n := start(t, func(c *Config) { c.FixOrientation = true })
	data := lying(t, 80, 40)
	var put struct {
		Size int    `json:"size"`
		ETag string `json:"eTag"`
	}
	n.upload(fid, "a.jpg", data, "Content-Type", "image/jpeg").want(201).json(&put)
	a := n.get(fid).want(200).has("Content-Type", "image/jpeg")
	if got := a.size(); got != [2]int{40, 80} || put.Size != len(data) || a.Header.Get("Etag") != `"`+put.ETag+`"` {
		t.Errorf("%v, %+v", got, put)
	}
	m, err := jpeg.Decode(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if r, _, b, _ := m.At(35, 40).RGBA(); r < b {
		t.Error("red is not at the right")
	}
	sum := md5.Sum([]byte(data)) //nolint:gosec // see the import
	n.put(fid, data, "Content-MD5", base64.StdEncoding.EncodeToString(sum[:])).want(201)
	n.get(fid).want(200).is(data)
	for _, other := range []string{data[:len(data)/2], data + "more", data + noise(8<<10, 3) + "\xff\xd9"} {
		n.put(fid, other).want(201)
		n.get(fid).want(200).is(other)
	}
	if !n.images.bytes.TryAcquire(imageBytes) {
		t.Error("not all memory was given back")
	}
}

func TestResizeWaitsForItsTurn(t *testing.T) {
	data := pngOf(t, picture(20, 20))
	info, err := imaging.Inspect(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plan, _ := info.Plan(imaging.Request{Width: 10})
	synctest.Test(t, func(t *testing.T) {
		w := newImageWork()
		if !w.bytes.TryAcquire(imageBytes) {
			t.Fatal("not free")
		}
		began := time.Now()
		if _, _, err := w.carryOut(plan, strings.NewReader(data)); !errors.Is(err, errImageBusy) || time.Since(began) != imageWait {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w.waiting.Store(imageQueue)
		if _, _, err := w.carryOut(plan, strings.NewReader(data)); !errors.Is(err, errImageBusy) {
			t.Errorf("with a full queue: %v", err)
		}
		w.waiting.Store(0)
		w.bytes.Release(imageBytes)
		slow := io.MultiReader(strings.NewReader(data[:100]), readerFunc(func([]byte) (int, error) {
			<-time.After(2 * imageTime) // by the clock of the bubble
			return 0, nil
		}))
		if _, _, err := w.carryOut(plan, slow); !errors.Is(err, errImageTime) {
			t.Errorf("a slow source: %v", err)
		}
		if !w.bytes.TryAcquire(imageBytes) {
			t.Error("not all memory was given back")
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// The memory of a large picture is free again before another one takes its place: what is in use at a time is what
// counts, and garbage counts as in use.
func TestLargePicturesOneAfterTheOther(t *testing.T) {
	data := pngOf(t, image.NewRGBA(image.Rect(0, 0, 3000, 3000)))
	info, err := imaging.Inspect(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plan, _ := info.Plan(imaging.Request{Width: 10})
	w := newImageWork()
	resident := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	runtime.GC()
	before := resident()
	for range 3 {
		_, release, err := w.carryOut(plan, strings.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		release()
		if grown := resident() - before; grown > plan.CostBytes()/2 {
			t.Errorf("%d bytes are left of a picture of %d", grown, plan.CostBytes())
		}
	}
}
