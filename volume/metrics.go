package volume

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

// metrics are the figures of /metrics. Counting costs one atomic addition a request; the rest is worked
// out when somebody asks.
type metrics struct {
	get, put, delete requestCounter
	putBytes         atomic.Uint64
	server           *Server
}

// requestCounter counts answers by the first digit of their status.
type requestCounter struct{ byClass [6]atomic.Uint64 }

func (c *requestCounter) count(ctx *fasthttp.RequestCtx) {
	if class := ctx.Response.StatusCode() / 100; class < len(c.byClass) {
		c.byClass[class].Add(1)
	}
}

var (
	requestsDesc = prometheus.NewDesc("weed_volume_requests_total",
		"Requests answered, by operation and class of status.", []string{"operation", "class"}, nil)
	putBytesDesc = prometheus.NewDesc("weed_volume_put_bytes_total",
		"Bytes of content taken in, before compression.", nil, nil)
	volumesDesc = prometheus.NewDesc("weed_volume_volumes",
		"Volumes on this server, by whether they take puts.", []string{"state"}, nil)
	needlesDesc = prometheus.NewDesc("weed_volume_needles",
		"Needles that can be read.", nil, nil)
	logBytesDesc = prometheus.NewDesc("weed_volume_log_bytes",
		"Length of all logs, garbage included.", nil, nil)
	deletedBytesDesc = prometheus.NewDesc("weed_volume_deleted_bytes",
		"Bytes in the logs of needles that were deleted or replaced.", nil, nil)
	indexBytesDesc = prometheus.NewDesc("weed_volume_index_bytes",
		"Memory that the indexes take.", nil, nil)
)

func newMetrics(s *Server) *metrics {
	m := &metrics{server: s}
	s.cfg.Registry.MustRegister(m)
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, putBytesDesc, volumesDesc, needlesDesc, logBytesDesc, deletedBytesDesc, indexBytesDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for name, c := range map[string]*requestCounter{"get": &m.get, "put": &m.put, "delete": &m.delete} {
		for class := range c.byClass {
			if n := c.byClass[class].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n),
					name, strconv.Itoa(class)+"xx")
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(putBytesDesc, prometheus.CounterValue, float64(m.putBytes.Load()))
	select {
	case <-m.server.ready:
	default:
		return // the store is not open yet
	}
	var writable, readOnly, needles, logBytes, deletedBytes, indexBytes float64
	for _, v := range m.server.store.Volumes() {
		if v.ReadOnly != 0 {
			readOnly++
		} else {
			writable++
		}
		needles += float64(v.Live)
		logBytes += float64(v.SizeBytes)
		deletedBytes += float64(v.DeletedBytes)
		indexBytes += float64(v.IndexBytes)
	}
	ch <- prometheus.MustNewConstMetric(volumesDesc, prometheus.GaugeValue, writable, "writable")
	ch <- prometheus.MustNewConstMetric(volumesDesc, prometheus.GaugeValue, readOnly, "readonly")
	ch <- prometheus.MustNewConstMetric(needlesDesc, prometheus.GaugeValue, needles)
	ch <- prometheus.MustNewConstMetric(logBytesDesc, prometheus.GaugeValue, logBytes)
	ch <- prometheus.MustNewConstMetric(deletedBytesDesc, prometheus.GaugeValue, deletedBytes)
	ch <- prometheus.MustNewConstMetric(indexBytesDesc, prometheus.GaugeValue, indexBytes)
}
