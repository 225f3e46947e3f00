package benchmark

import (
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is the raw outcome of a run.
type Report struct {
	Concurrency int
	Interrupted bool     // the context ended before the work was done
	Phases      []*Phase // in the order in which they ran
}

func (r *Report) failed() int64 {
	var n int64
	for _, p := range r.Phases {
		n += p.Failed
	}
	return n
}

const (
	maxLatency   = 10 * time.Minute // longer ones count as this long
	maxFailures  = 10               // texts that are kept
	latencyDigit = 3                // significant digits of a latency
)

// Phase is the raw outcome of one kind of request. Its fields are final when Run has returned.
type Phase struct {
	Name        string // "Writing", "Deleting", "Randomly Reading", "Sequentially Reading"
	Concurrency int
	Requests    int // asked for

	mu        sync.Mutex
	Completed int64
	Failed    int64
	Bytes     int64    // content bytes of the completed requests
	Failures  []string // the first different texts
	latency   *hdrhistogram.Histogram
	start     time.Time
	Elapsed   time.Duration
}

func newPhase(name string, concurrency, requests int) *Phase {
	return &Phase{
		Name: name, Concurrency: concurrency, Requests: requests, start: time.Now(),
		latency: hdrhistogram.New(1, maxLatency.Microseconds(), latencyDigit),
	}
}

// record counts one request.
func (p *Phase) record(d time.Duration, bytes int, err error) {
	micros := min(max(d, time.Microsecond), maxLatency).Microseconds()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.Failed++
		if text := err.Error(); len(p.Failures) < maxFailures && !slices.Contains(p.Failures, text) {
			p.Failures = append(p.Failures, text)
		}
		return
	}
	p.Completed++
	p.Bytes += int64(bytes)
	// The value is within the bounds that the histogram was made with.
	_ = p.latency.RecordValue(micros)
}

func (p *Phase) end() { p.Elapsed = time.Since(p.start) }

// counts returns what is done so far.
func (p *Phase) counts() (done, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Completed + p.Failed, p.Bytes
}

// RequestsPerSecond is the rate of completed requests.
func (p *Phase) RequestsPerSecond() float64 { return perSecond(p.Completed, p.Elapsed) }

// KBytesPerSecond is the rate of content in units of 1024 bytes.
func (p *Phase) KBytesPerSecond() float64 { return perSecond(p.Bytes, p.Elapsed) / 1024 }

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// percentiles are the shares, in percent, that reports tell the latencies of.
var percentiles = [...]int{50, 66, 75, 80, 90, 95, 98, 99, 100}

// Percentile returns the time within which a share of the completed requests was answered, 0 when there are
// none.
func (p *Phase) Percentile(percent float64) time.Duration {
	return time.Duration(p.latency.ValueAtQuantile(percent)) * time.Microsecond
}

// Latency tells the completed requests' times; all are 0 when there are none.
func (p *Phase) Latency() (minimum, average, maximum, deviation time.Duration) {
	if p.Completed == 0 {
		return 0, 0, 0, 0
	}
	micro := float64(time.Microsecond)
	return time.Duration(p.latency.Min()) * time.Microsecond, time.Duration(p.latency.Mean() * micro),
		time.Duration(p.latency.Max()) * time.Microsecond, time.Duration(p.latency.StdDev() * micro)
}
