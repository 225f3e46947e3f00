package benchmark

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// progress prints the headline of a phase, and a line each second until stop is called.
func (r *run) progress(p *Phase) (stop func()) {
	if r.cfg.JSON {
		return func() {}
	}
	fmt.Fprintf(r.out, "\n------------ %s Benchmark ----------\n", p.Name)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var lastDone, lastBytes int64
		last := p.start
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				done, bytes := p.counts()
				fmt.Fprintln(r.out, progressLine(done, int64(p.Requests), done-lastDone, bytes-lastBytes, now.Sub(last)))
				lastDone, lastBytes, last = done, bytes, now
			}
		}
	}()
	return func() { close(quit); <-ended }
}

func progressLine(done, total, newly, newBytes int64, d time.Duration) string {
	return fmt.Sprintf("Completed %d of %d requests, %.1f%% %.1f/s %.1fMB/s", done, total,
		100*float64(done)/float64(max(total, 1)), perSecond(newly, d), perSecond(newBytes, d)/(1<<20))
}

// writeText prints a phase the way the family of stores does; scripts read it.
func (p *Phase) writeText(out io.Writer) error {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nConcurrency Level:      %d\n", p.Concurrency)
	fmt.Fprintf(&b, "Time taken for tests:   %.3f seconds\n", p.Elapsed.Seconds())
	fmt.Fprintf(&b, "Complete requests:      %d\n", p.Completed)
	fmt.Fprintf(&b, "Failed requests:        %d\n", p.Failed)
	fmt.Fprintf(&b, "Total transferred:      %d bytes\n", p.Bytes)
	fmt.Fprintf(&b, "Requests per second:    %.2f [#/sec]\n", p.RequestsPerSecond())
	fmt.Fprintf(&b, "Transfer rate:          %.2f [Kbytes/sec]\n", p.KBytesPerSecond())
	lo, avg, hi, std := p.Latency()
	fmt.Fprintf(&b, "\nConnection Times (ms)\n              min      avg        max      std\n")
	fmt.Fprintf(&b, "Total:        %2.1f      %3.1f       %3.1f      %3.1f\n", ms(lo), ms(avg), ms(hi), ms(std))
	fmt.Fprintf(&b, "\nPercentage of the requests served within a certain time (ms)\n")
	for _, percent := range percentiles {
		fmt.Fprintf(&b, "  %3d%%    %5.1f ms\n", percent, ms(p.Percentile(float64(percent))))
	}
	for _, f := range p.Failures {
		fmt.Fprintf(&b, "Failed: %s\n", f)
	}
	_, err := out.Write(b.Bytes())
	return err
}
