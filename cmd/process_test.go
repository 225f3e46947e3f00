package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weed/internal/freeport"
)

// patience is how long a test waits for something that should be there at once, on a busy machine.
const patience = 60 * time.Second

var binary struct {
	once sync.Once
	path string
	err  error
}

// build returns the path of a weed that is built once for all tests.
func build(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		binary.path = filepath.Join(scratch, "weed")
		out, err := exec.Command("go", "build", "-ldflags", "-X weed/cmd.version=v9.8.7-test", "-o", binary.path, "weed/cmd/weed").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

var scratch string // a directory that lives as long as the tests

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weed-cmd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	if err := os.Setenv("TMPDIR", dir); err != nil { // glog writes there what is logged between two tests
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running weed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output is complete

	mu     sync.Mutex
	stderr bytes.Buffer
	grown  chan struct{} // closed and replaced whenever stderr grows
}

// start runs weed with args in an empty directory, and kills it at the end of the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(build(t), args...))
}

func launch(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: command, done: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(p.cmd.Args, " "), p.log())
		}
	})
	return p
}

// Write takes what the process writes to stderr.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.grown)
	p.grown = make(chan struct{})
	return p.stderr.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// waitFor waits until the process has logged text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		found, grown := strings.Contains(p.stderr.String(), text), p.grown
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-p.done:
			t.Fatalf("weed has ended without saying %q", text)
		case <-deadline:
			t.Fatalf("weed does not say %q", text)
		}
	}
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("weed does not end")
		return 0
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// signalUntilExit repeats a signal, because one that follows at once may be taken for the echo of the first,
// and returns the exit code.
func (p *process) signalUntilExit(t *testing.T, s os.Signal) int {
	t.Helper()
	again := time.NewTicker(echo)
	defer again.Stop()
	for {
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		select {
		case <-p.done:
			return p.cmd.ProcessState.ExitCode()
		case <-again.C:
		}
	}
}

// request sends a request and returns status and body; status 0 means that nobody answered.
func request(ctx context.Context, method, url, body string) (int, string) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "text/plain")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(b)
}

// await repeats a request until it is answered with status, and returns the body.
func await(t *testing.T, status int, method, url, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	var last string
	for ctx.Err() == nil {
		got, text := request(ctx, method, url, body)
		if got == status {
			return text
		}
		last = fmt.Sprint(got, " ", text)
		<-pause.C
	}
	t.Fatalf("%s %s: no answer %d, the last one was %s", method, url, status, last)
	return ""
}

func TestVersionOfTheLinker(t *testing.T) {
	out, err := exec.Command(build(t), "version").Output()
	want := fmt.Sprintf("weed v9.8.7-test %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// TestServerStops stores a file in a server of two, leaves an upload half done, sends SIGTERM, finishes the
// upload, and finds everything again after the next start.
func TestServerStops(t *testing.T) {
	dir := t.TempDir()
	masterPort, volumePort := freeport.Port(t), freeport.Port(t)
	profile := filepath.Join(dir, "cpu.prof")
	memory := filepath.Join(dir, "mem.prof")
	args := []string{"-v=1", "server", "-dir", filepath.Join(dir, "data"), "-pulseSeconds=1",
		fmt.Sprint("-master.port=", masterPort), fmt.Sprint("-volume.port=", volumePort)}
	master, volume := fmt.Sprint("http://127.0.0.1:", masterPort), fmt.Sprint("http://127.0.0.1:", volumePort)

	p := start(t, append(args, "-cpuprofile", profile, "-memprofile="+memory)...)
	submitted := await(t, http.StatusCreated, "POST", master+"/submit", "hello")
	fid := field(t, submitted, "fid")
	assigned := field(t, await(t, http.StatusOK, "GET", master+"/dir/assign", ""), "fid")

	upload := halfUpload(t, volumePort, assigned)
	p.signal(t, syscall.SIGTERM)
	p.waitFor(t, "the next signal ends the process at once")
	refused(t, masterPort)
	if status := upload.finish(t); status != http.StatusCreated {
		t.Errorf("the upload that was under way at SIGTERM got %d", status)
	}
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	for _, name := range []string{profile, memory} {
		if b, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			t.Errorf("%s: %d bytes that are no profile, error %v", name, len(b), err)
		}
	}

	p = start(t, args...)
	for fid, want := range map[string]string{fid: "hello", assigned: halves} {
		if got := await(t, http.StatusOK, "GET", volume+"/"+fid, ""); got != want {
			t.Errorf("%s is %q after the restart, want %q", fid, got, want)
		}
	}
	p.signal(t, syscall.SIGINT)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d after SIGINT", code)
	}
}

func TestSecondSignalExitsAtOnce(t *testing.T) {
	for _, c := range []struct {
		second syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}} {
		masterPort, volumePort := freeport.Port(t), freeport.Port(t)
		p := start(t, "server", fmt.Sprint("-master.port=", masterPort), fmt.Sprint("-volume.port=", volumePort), "-pulseSeconds=1")
		body := await(t, http.StatusOK, "GET", fmt.Sprint("http://127.0.0.1:", masterPort, "/dir/assign"), "")
		halfUpload(t, volumePort, field(t, body, "fid")) // never finished: draining would wait for it
		p.signal(t, syscall.SIGTERM)
		p.waitFor(t, "the next signal ends the process at once")
		if code := p.signalUntilExit(t, c.second); code != c.code {
			t.Errorf("exit code %d after a second signal, %v; want %d", code, c.second, c.code)
		}
	}
}

// run runs weed to its end and returns its exit code and its output.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, build(t), args...)
	command.Stdout, command.Stderr, command.Dir = &out, &errs, t.TempDir()
	if err := command.Run(); command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), errs.String()
}

// store starts a server of two and returns the master's host:port once files can be stored.
func store(t *testing.T) (master string, p *process) {
	t.Helper()
	port := freeport.Port(t)
	p = start(t, "server", fmt.Sprint("-master.port=", port), fmt.Sprint("-volume.port=", freeport.Port(t)), "-pulseSeconds=1",
		"-volume.fsync=never")
	master = fmt.Sprint("127.0.0.1:", port)
	await(t, http.StatusOK, "GET", "http://"+master+"/dir/assign", "")
	return master, p
}

func TestBenchmark(t *testing.T) {
	master, p := store(t)
	list := filepath.Join(t.TempDir(), "list")
	code, stdout, stderr := run(t, "benchmark", "-server", master, "-n=200", "-c=4", "-list", list, "-deletePercent=10")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"Writing Benchmark", "Randomly Reading Benchmark", "Concurrency Level:      4\n",
		"Complete requests:      200\n", "Failed requests:        0\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	code, stdout, stderr = run(t, "benchmark", "-master", master, "-write=false", "-list", list, "-readSequentially", "-json")
	var report struct {
		Phases []struct{ Completed, Failed int }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitOK || stderr != "" ||
		len(report.Phases) != 1 || report.Phases[0].Completed != 180 || report.Phases[0].Failed != 0 {
		t.Errorf("exit code %d, %s, %v: %s; want 180 reads", code, stderr, err, stdout)
	}

	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	code, _, stderr = run(t, "benchmark", "-master", master, "-n=3", "-c=1")
	if code != exitFailure || !strings.HasPrefix(stderr, "weed benchmark: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without a store: exit code %d, %q", code, stderr)
	}
}

func TestBenchmarkInterrupted(t *testing.T) {
	master, _ := store(t)
	profile := filepath.Join(t.TempDir(), "cpu.prof") // created once signals are heeded
	p := start(t, "benchmark", "-server="+master, "-cpuprofile="+profile)
	appears(t, profile)
	p.signal(t, syscall.SIGINT)
	if code := p.exit(t); code != 130 {
		t.Errorf("exit code %d after SIGINT, want 130", code)
	}
}

// TestLogFiles checks that with -log_dir everything goes to files, to the last line, and nothing to stderr.
func TestLogFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	port := freeport.Port(t)
	p := start(t, "master", "-log_dir", dir, fmt.Sprint("-port=", port))
	await(t, http.StatusOK, "GET", fmt.Sprint("http://127.0.0.1:", port, "/healthz"), "")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	b, err := os.ReadFile(filepath.Join(dir, "weed.INFO"))
	if text := string(b); err != nil || !strings.Contains(text, "weed master starts") || !strings.Contains(text, "weed master has ended") {
		t.Errorf("log file: %v\n%s", err, text)
	}
	for line := range strings.Lines(p.log()) {
		if !strings.HasPrefix(line, "E") { // errors go to both
			t.Errorf("on stderr: %s", line)
		}
	}
}

// TestWarnings starts a master with few files and a flag of former times.
func TestWarnings(t *testing.T) {
	p := launch(t, exec.Command("sh", "-c", `ulimit -n 512; exec "$0" "$@"`, build(t), "master", "-conf=weed.conf",
		fmt.Sprint("-port=", freeport.Port(t))))
	p.waitFor(t, "the limit of open files is low: raise the hard limit (ulimit -Hn) before the start limit=512 advised=")
	p.waitFor(t, "-conf is ignored: data centers and racks come from the volume servers conf=weed.conf")
	p.waitFor(t, "master listens")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestFailures starts servers that cannot run: one line says why, and the exit code is 1.
func TestFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	free := fmt.Sprint(freeport.Port(t))
	for _, c := range []struct {
		args string
		want string // part of the line
	}{
		{fmt.Sprint("master -port=", port), fmt.Sprintf("port %d is in use: stop the other process or choose another -port\n", port)},
		{fmt.Sprint("volume -port=", port), fmt.Sprintf("port %d is in use: stop the other process or choose another -port\n", port)},
		{fmt.Sprint("server -volume.port=", free, " -master.port=", port), fmt.Sprintf("port %d is in use: stop the other process or choose another -master.port\n", port)},
		{fmt.Sprint("server -master.port=", free, " -volume.port=", port), fmt.Sprintf("port %d is in use: stop the other process or choose another -volume.port\n", port)},
		{"master -port=" + free + " -mdir=" + file + "/m", file},
		{"volume -port=" + free + " -dir=" + file + "/v", file},
		{"volume -port=" + free + " -dir=" + file, file},
		{"master -port=" + free + " -cpuprofile=" + file + "/p", "-cpuprofile: "},
		{"master -port=" + free + " -log_dir=" + file + "/l", "-log_dir: "},
		{"master -defaultReplication=x", "-defaultReplication: malformed replication"},
	} {
		p := start(t, strings.Fields(c.args)...)
		code := p.exit(t)
		lines := p.complaints()
		if code != exitFailure || len(lines) != 1 || !strings.HasPrefix(lines[0], "weed ") || !strings.Contains(lines[0], c.want) {
			t.Errorf("weed %s: exit code %d, %q; want %d and one line with %q", c.args, code, lines, exitFailure, c.want)
		}
	}
}

// complaints returns what the process wrote to stderr besides the log.
func (p *process) complaints() []string {
	var lines []string
	for line := range strings.Lines(p.log()) {
		if !linePattern.MatchString(strings.TrimSuffix(line, "\n")) {
			lines = append(lines, line)
		}
	}
	return lines
}

// halves is what a halfUpload stores in the end.
const halves = "first half, second half"

// pendingUpload is an upload that the server has begun to take.
type pendingUpload struct {
	conn    net.Conn
	answers *bufio.Reader
}

// halfUpload starts to upload halves to a fid and returns when the server has agreed to take it.
func halfUpload(t *testing.T, port int, fid string) pendingUpload {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	u := pendingUpload{conn, bufio.NewReader(conn)}
	fmt.Fprintf(conn, "PUT /%s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		fid, len(halves))
	if status := u.status(t); status != http.StatusContinue {
		t.Fatalf("no 100 Continue but %d", status)
	}
	fmt.Fprint(conn, halves[:10])
	return u
}

// finish sends the rest and returns the status of the answer.
func (u pendingUpload) finish(t *testing.T) int {
	t.Helper()
	fmt.Fprint(u.conn, halves[10:])
	return u.status(t)
}

func (u pendingUpload) status(t *testing.T) int {
	t.Helper()
	answer, err := http.ReadResponse(u.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// appears waits until there is a file of that name.
func appears(t *testing.T, name string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(name); err == nil {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%s does not appear", name)
}

// refused waits until nobody listens on the port.
func refused(t *testing.T, port int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = conn.Close()
		}
		runtime.Gosched()
	}
	t.Fatalf("port %d still listens", port)
}

// field returns a text field of a JSON object.
func field(t *testing.T, body, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		t.Fatal(err)
	}
	text, ok := fields[name].(string)
	if !ok {
		t.Fatalf("no %s in %s", name, body)
	}
	return text
}
