package storage

import (
	"fmt"
	"log/slog"
	"time"
)

// SyncPolicy says when an append becomes durable.
type SyncPolicy int

// The policies. The zero value is the safe one.
const (
	// SyncAlways answers a write after a sync that covers it; writes that arrive together share one.
	SyncAlways SyncPolicy = iota
	// SyncInterval syncs once per Config.SyncInterval; a power cut loses at most that much.
	SyncInterval
	// SyncNever leaves it to the operating system. A kill of the process loses nothing, a power cut may.
	SyncNever
)

var syncPolicyNames = [...]string{SyncAlways: "always", SyncInterval: "interval", SyncNever: "never"}

// String returns the policy's name.
func (p SyncPolicy) String() string { return syncPolicyNames[p] }

// ParseSyncPolicy reads always, interval or never.
func ParseSyncPolicy(s string) (SyncPolicy, error) {
	for p, name := range syncPolicyNames {
		if s == name {
			return SyncPolicy(p), nil
		}
	}
	return 0, fmt.Errorf("malformed fsync policy %q: use always, interval or never", s)
}

// Config tunes a Store. The zero value is what a server wants by default.
type Config struct {
	Sync         SyncPolicy
	SyncInterval time.Duration    // for SyncInterval; 1 s by default
	Now          func() time.Time // time.Now by default
	Logger       *slog.Logger     // discards by default
	// MinFreePercent is the free share of a disk, 0 to below 100, under which a Store makes no volume there, and
	// CheckSpace lets those that are there take no puts.
	MinFreePercent float64
}

func (c Config) withDefaults() Config {
	if c.SyncInterval <= 0 {
		c.SyncInterval = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
