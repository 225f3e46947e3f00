package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// replicated is a master and volume servers that can keep as many copies as they are.
type replicated struct {
	master  *process
	volumes []*process
}

// startReplicated runs an empty store with so many volume servers.
func (b *bench) startReplicated(servers int, fsync string) (*replicated, error) {
	dir, err := os.MkdirTemp(b.dir, "replicas-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	r := &replicated{}
	// The loads overwrite; no vacuum by itself, which would meet now one volume and now another.
	if r.master, err = b.start(addr, b.weed, "master", "-port="+port(addr), "-mdir="+filepath.Join(dir, "m"), "-pulseSeconds=1",
		"-garbageThreshold=1"); err != nil {
		return nil, err
	}
	for i := range servers {
		at, err := freeAddr()
		if err != nil {
			return nil, err
		}
		p, err := b.start(at, b.weed, "volume", "-port="+port(at), "-dir="+filepath.Join(dir, fmt.Sprint("v", i)),
			"-mserver="+addr, "-fsync="+fsync, "-max=100", "-pulseSeconds=1")
		if err != nil {
			return nil, err
		}
		r.volumes = append(r.volumes, p)
	}
	return r, b.wait(func() error {
		for _, p := range r.volumes {
			if err := getJSON("http://"+p.addr+"/readyz", nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// copies is a volume with some number of copies.
type copies struct {
	n       int
	fids    fidRange
	primary string
}

// assign asks for fids in a volume of n copies.
func (r *replicated) assign(b *bench, n int) (c copies, err error) {
	c.n = n
	err = b.wait(func() error { // the master has to have heard of all servers
		s := store{master: r.master}
		c.fids, err = s.assignWith(fmt.Sprintf("count=200000&replication=00%d", n-1))
		return err
	})
	if err != nil {
		return c, err
	}
	for _, p := range r.volumes {
		var status struct{ Primary string }
		if getJSON("http://"+p.addr+"/internal/volume/replication?volumeId="+c.fids.volume, &status) == nil {
			if c.primary = status.Primary; c.primary == "" { // of one copy
				c.primary = p.addr
			}
			return c, nil
		}
	}
	return c, fmt.Errorf("no server has volume %s", c.fids.volume)
}

// replicas measures what further copies cost, and how that compares with the simplest way to keep them.
func (b *bench) replicas() error {
	r, err := b.startReplicated(3, "never")
	if err != nil {
		return err
	}
	naive, err := b.startNaive()
	if err != nil {
		return err
	}
	var all []copies
	for n := 1; n <= 3; n++ {
		c, err := r.assign(b, n)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	for _, connections := range []int{16, 64} {
		costs, rates := map[int][]float64{}, map[int][]float64{}
		for range b.rounds {
			for _, c := range all {
				cost, perSec, err := b.costAndRate(c.primary, putScript(c.fids), connections, r.volumes...)
				if err != nil {
					return fmt.Errorf("%d copies: %w", c.n, err)
				}
				costs[c.n], rates[c.n] = append(costs[c.n], sum(cost)), append(rates[c.n], perSec)
			}
			_, perSec, err := b.costAndRate(naive.addr, putScript(all[1].fids), connections, naive)
			if err != nil {
				return fmt.Errorf("naive: %w", err)
			}
			rates[0] = append(rates[0], perSec)
		}
		at := fmt.Sprintf(", %d connections", connections)
		for _, c := range all {
			b.note(fmt.Sprintf("CPU of all volume servers per 1 KiB PUT, %d copies", c.n)+at, median(costs[c.n]), "µs")
			b.note(fmt.Sprintf("1 KiB PUTs, %d copies", c.n)+at, median(rates[c.n]), "/s")
		}
		b.note("1 KiB PUTs, forwarded one by one"+at, median(rates[0]), "/s")
		b.atMost("CPU of 2 copies against 1"+at, median(costs[2])/median(costs[1]), 1.9, "x")
		b.atMost("CPU of 3 copies against 1"+at, median(costs[3])/median(costs[1]), 2.8, "x")
		if connections == 16 {
			b.ratio("PUTs with 2 copies against forwarding one by one"+at, median(rates[2])/median(rates[0]), 2)
		}
	}
	return nil
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
