package filer

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// serveHealth says that the process is up.
func (f *Filer) serveHealth(w http.ResponseWriter, r *http.Request) {
	answerJSON(w, r, http.StatusOK, []byte(`{}`))
}

// serveReady says whether the store and a master answer.
func (f *Filer) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	text := ""
	if err := f.store.Ping(ctx); err != nil {
		text = "the filer's store does not answer"
	} else if s, err := f.client.ClusterStatus(ctx); err != nil || s.Leader == "" {
		text = "no master answers, or none leads"
	}
	if text != "" {
		w.Header().Set("Retry-After", "2")
		answerError(w, r, http.StatusServiceUnavailable, text)
		return
	}
	answerJSON(w, r, http.StatusOK, []byte(`{}`))
}

// status is the answer of /.weed/status.
type status struct {
	Version   string
	Namespace string // id that every chunk carries
	Drops     struct {
		Deleted int64 // chunks, since the start
		Failed  int64 // tries that failed, since the start
		Waiting int64 // after the last pass
	}
	Sweep struct {
		Running bool
		Records int64 // of removed directories that are gone, since the start
	}
	Claims struct {
		Open    int
		Pending int // fids that are being uploaded to
	}
}

func (f *Filer) serveStatus(w http.ResponseWriter, r *http.Request) {
	var s status
	s.Version = f.cfg.Version
	p, err := f.pairs(r.Context())
	if err != nil {
		f.fail(w, r, err)
		return
	}
	s.Namespace = p["Filer"]
	d := f.drops
	s.Drops.Deleted, s.Drops.Failed, s.Drops.Waiting = d.deleted.Load(), d.failed.Load(), d.waiting.Load()
	s.Sweep.Running, s.Sweep.Records = d.sweeping.Load(), d.swept.Load()
	f.claims.mu.Lock()
	for _, c := range f.claims.open {
		s.Claims.Open++
		s.Claims.Pending += c.pending
	}
	f.claims.mu.Unlock()
	answerValue(w, r, http.StatusOK, &s)
}

// metrics are the figures of /metrics.
type metrics struct {
	f                  *Filer
	requests           [5][6]atomic.Uint64 // by method and class of status
	putBytes, getBytes atomic.Uint64
}

var methodNames = [5]string{"get", "put", "post", "delete", "other"}

func (m *metrics) count(method string, status int) {
	i := len(methodNames) - 1
	switch method {
	case http.MethodGet, http.MethodHead:
		i = 0
	case http.MethodPut:
		i = 1
	case http.MethodPost:
		i = 2
	case http.MethodDelete:
		i = 3
	}
	if class := status / 100; class < len(m.requests[i]) {
		m.requests[i][class].Add(1)
	}
}

var (
	requestsDesc = prometheus.NewDesc("weed_filer_requests_total", "Requests answered, by method and class of status.", []string{"method", "class"}, nil)
	putBytesDesc = prometheus.NewDesc("weed_filer_put_bytes_total", "Bytes of content that were stored.", nil, nil)
	getBytesDesc = prometheus.NewDesc("weed_filer_get_bytes_total", "Bytes of content that were sent.", nil, nil)
	deletedDesc  = prometheus.NewDesc("weed_filer_chunks_deleted_total", "Chunks that were deleted.", nil, nil)
	waitingDesc  = prometheus.NewDesc("weed_filer_chunks_to_delete", "Chunks that the last pass could not delete.", nil, nil)
	expiredDesc  = prometheus.NewDesc("weed_filer_expired_total", "Entries that were removed because their time was over.", nil, nil)
	sweptDesc    = prometheus.NewDesc("weed_filer_swept_total", "Entries of removed directories that are gone.", nil, nil)
)

func newMetrics(f *Filer) *metrics {
	m := &metrics{f: f}
	f.deps.Registry.MustRegister(m)
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, putBytesDesc, getBytesDesc, deletedDesc, waitingDesc, sweptDesc, expiredDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for i := range m.requests {
		for class := range m.requests[i] {
			if n := m.requests[i][class].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), methodNames[i], strconv.Itoa(class)+"xx")
			}
		}
	}
	counter := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	counter(putBytesDesc, float64(m.putBytes.Load()))
	counter(getBytesDesc, float64(m.getBytes.Load()))
	counter(deletedDesc, float64(m.f.drops.deleted.Load()))
	counter(expiredDesc, float64(m.f.expired.Load()))
	counter(sweptDesc, float64(m.f.drops.swept.Load()))
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(m.f.drops.waiting.Load()))
}
