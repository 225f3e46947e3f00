package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/internal/vfs"
	"weed/internal/wire"
	"weed/storage"
)

func TestMain(m *testing.M) {
	// fasthttp keeps the text of the Date field up to date for as long as the process lives.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// patience is how long a test waits for what should happen at once, on a busy machine.
const patience = 30 * time.Second

// fid is a blob's address in the volume that every node starts with.
const fid = "/3,01637037d6"

// node is a running volume server.
type node struct {
	*Server
	t      *testing.T
	addr   string
	master *fakeMaster
	http   *http.Client
	stop   func() // ends Run and waits for it

	failsToClose bool // Run is to end with an error
}

// start runs a server with one volume, 3, on a directory of the operating system unless change says otherwise.
func start(t *testing.T, change func(*Config)) *node {
	t.Helper()
	n := run(t, change)
	n.create(3, "")
	return n
}

// run runs a server without a volume.
func run(t *testing.T, change func(*Config)) *node {
	t.Helper()
	n := &node{t: t}
	cfg := Config{
		Bind: "127.0.0.1:0", Fsync: storage.SyncNever, Version: "v1.2.3", ReadRedirect: true,
		FileSizeLimitBytes: 8 << 20, UploadBudgetBytes: 64 << 20,
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.Dirs == nil {
		dir := "/data"
		if cfg.FS == nil {
			dir = t.TempDir()
		}
		cfg.Dirs = []storage.Directory{{Path: dir, MaxVolumes: 7}}
	}
	if cfg.Masters == nil {
		n.master = newFakeMaster(t)
		cfg.Masters = []string{n.master.addr()}
	}
	var err error
	if n.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	n.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       2 * patience,
	}
	n.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; (err != nil) != n.failsToClose {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	wait, cancelWait := context.WithTimeout(ctx, patience)
	defer cancelWait()
	addr, err := n.Addr(wait)
	if err != nil {
		select {
		case err = <-done:
		default:
		}
		t.Fatal(err)
	}
	n.addr = addr.String()
	return n
}

// onDisk makes the server use a disk in memory.
func onDisk(disk *vfs.Mem) func(*Config) { return func(c *Config) { c.FS = disk } }

func (n *node) create(id uint32, collection string) {
	n.t.Helper()
	body := fmt.Sprintf(`{"id":%d,"collection":%q,"replication":"000"}`, id, collection)
	n.do("POST", wire.PathVolumeCreate, body).want(200)
}

// answer is a response that has been read to its end.
type answer struct {
	*http.Response
	t    *testing.T
	what string
	body string
}

// do sends a request; header are names and values in turn.
func (n *node) do(method, path, body string, header ...string) *answer {
	n.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	return n.send(method, path, r, header...)
}

func (n *node) send(method, path string, body io.Reader, header ...string) *answer {
	n.t.Helper()
	a, err := n.try(method, path, body, header...)
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

func (n *node) try(method, path string, body io.Reader, header ...string) (*answer, error) {
	req, err := http.NewRequest(method, "http://"+n.addr+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return &answer{Response: resp, t: n.t, what: method + " " + path, body: string(text)}, nil
}

// want checks the status, and that an error is told as JSON.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.StatusCode != status {
		a.t.Fatalf("%s: %d %.200q, want %d", a.what, a.StatusCode, a.body, status)
	}
	if status >= 400 && a.Request.Method != http.MethodHead {
		var e wire.Error
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Error == "" && !strings.HasPrefix(strings.TrimLeft(a.body, "{\n "), `"size"`) {
			a.t.Fatalf("%s: %d with %.200q, want an error in JSON", a.what, a.StatusCode, a.body)
		}
		if got := a.Header.Get("Content-Type"); got != "application/json" {
			a.t.Fatalf("%s: an error of type %q", a.what, got)
		}
	}
	return a
}

// has checks headers, names and values in turn; "" wants none.
func (a *answer) has(header ...string) *answer {
	a.t.Helper()
	for i := 0; i < len(header); i += 2 {
		if got := strings.Join(a.Header.Values(header[i]), " | "); got != header[i+1] {
			a.t.Errorf("%s: %s is %q, want %q", a.what, header[i], got, header[i+1])
		}
	}
	return a
}

// is checks the body.
func (a *answer) is(body string) *answer {
	a.t.Helper()
	if a.body != body {
		a.t.Fatalf("%s: %d bytes %.100q, want %d bytes %.100q", a.what, len(a.body), a.body, len(body), body)
	}
	return a
}

// says checks that the body holds a text.
func (a *answer) says(text string) *answer {
	a.t.Helper()
	if !strings.Contains(a.body, text) {
		a.t.Errorf("%s: %.300q, want it to say %q", a.what, a.body, text)
	}
	return a
}

// json decodes the body.
func (a *answer) json(out any) *answer {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), out); err != nil {
		a.t.Fatalf("%s: %v in %.200q", a.what, err, a.body)
	}
	return a
}

// form makes a multipart body of one file; header are names and values in turn.
func form(fileName, content string, header ...string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	h := textproto.MIMEHeader{"Content-Disposition": {multipart.FileContentDisposition("file", fileName)}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	p, err := w.CreatePart(h)
	if err == nil {
		_, err = io.WriteString(p, content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.String(), w.FormDataContentType()
}

// upload posts a form of one file.
func (n *node) upload(path, fileName, content string, header ...string) *answer {
	n.t.Helper()
	body, mime := form(fileName, content, header...)
	return n.do("POST", path, body, "Content-Type", mime)
}

// put stores raw bytes without a type.
func (n *node) put(path, content string, header ...string) *answer {
	n.t.Helper()
	return n.do("PUT", path, content, header...).want(201)
}

func (n *node) get(path string, header ...string) *answer {
	n.t.Helper()
	return n.do("GET", path, "", header...)
}

// eventually waits until a condition holds that nothing announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

// noise is content that neither compresses nor looks like text.
func noise(n int, seed uint32) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	if n > 0 {
		b[0] = 0x80 // begins nothing that sniffing knows
	}
	return string(b)
}
