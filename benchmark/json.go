package benchmark

import (
	"encoding/json"
	"io"
	"strconv"
	"time"
)

type jsonReport struct {
	Concurrency int         `json:"concurrency"`
	Interrupted bool        `json:"interrupted"`
	Phases      []jsonPhase `json:"phases"`
}

type jsonPhase struct {
	Name              string             `json:"name"`
	Requests          int                `json:"requests"`
	Completed         int64              `json:"completed"`
	Failed            int64              `json:"failed"`
	Bytes             int64              `json:"bytes"`
	Seconds           float64            `json:"seconds"`
	RequestsPerSecond float64            `json:"requestsPerSecond"`
	KBytesPerSecond   float64            `json:"kbytesPerSecond"`
	LatencyMs         jsonLatency        `json:"latencyMs"`
	PercentilesMs     map[string]float64 `json:"percentilesMs"`
	Failures          []string           `json:"failures,omitempty"`
}

type jsonLatency struct {
	Min float64 `json:"min"`
	Avg float64 `json:"avg"`
	Max float64 `json:"max"`
	Std float64 `json:"std"`
}

// WriteJSON prints the report as one JSON object; latencies are milliseconds.
func (r *Report) WriteJSON(out io.Writer) error {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	doc := jsonReport{Concurrency: r.Concurrency, Interrupted: r.Interrupted, Phases: []jsonPhase{}}
	for _, p := range r.Phases {
		lo, avg, hi, std := p.Latency()
		j := jsonPhase{
			Name: p.Name, Requests: p.Requests, Completed: p.Completed, Failed: p.Failed, Bytes: p.Bytes,
			Seconds: p.Elapsed.Seconds(), RequestsPerSecond: p.RequestsPerSecond(), KBytesPerSecond: p.KBytesPerSecond(),
			LatencyMs:     jsonLatency{ms(lo), ms(avg), ms(hi), ms(std)},
			PercentilesMs: make(map[string]float64), Failures: p.Failures,
		}
		for _, percent := range percentiles {
			j.PercentilesMs[strconv.Itoa(percent)] = ms(p.Percentile(float64(percent)))
		}
		doc.Phases = append(doc.Phases, j)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
