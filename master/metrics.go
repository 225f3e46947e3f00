package master

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"weed/topology"
)

// metrics are what /metrics shows of a master.
type metrics struct {
	assigned, refused, submitted, grown, heartbeats prometheus.Counter
	page                                            fasthttp.RequestHandler
}

func newMetrics(registry *prometheus.Registry, m *Master) (*metrics, error) {
	var errs []error
	add := func(c prometheus.Collector) { errs = append(errs, registry.Register(c)) }
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "weed_master_" + name, Help: help})
		add(c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weed_master_" + name, Help: help}, value))
	}
	sum := func(name, help string, field func(topology.Counts) int) {
		gauge(name, help, func() float64 {
			if t := m.term.Load(); t != nil {
				return float64(field(t.tree.Counts()))
			}
			return 0
		})
	}
	gauge("leading", "1 while this master leads, else 0.", func() float64 {
		if m.term.Load() != nil {
			return 1
		}
		return 0
	})
	sum("servers", "Volume servers that report to this leader.", func(c topology.Counts) int { return c.Servers })
	sum("volumes", "Volumes that are known to this leader.", func(c topology.Counts) int { return c.Volumes })
	sum("volume_copies", "Copies of volumes that are known to this leader.", func(c topology.Counts) int { return c.Copies })
	sum("slots", "Volume slots of all servers.", func(c topology.Counts) int { return c.Max })
	sum("free_slots", "Volume slots that are free.", func(c topology.Counts) int { return c.Free })
	s := &metrics{
		assigned:   counter("assigned_fids_total", "Fids handed out."),
		refused:    counter("refused_assigns_total", "Assigns answered with an error."),
		submitted:  counter("submitted_blobs_total", "Blobs stored by way of /submit."),
		grown:      counter("made_volumes_total", "Volumes made."),
		heartbeats: counter("heartbeats_total", "Heartbeats taken from volume servers."),
		page:       metricsPage(m),
	}
	return s, errors.Join(errs...)
}
