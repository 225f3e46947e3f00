package filer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"weed/filer/store"
	"weed/internal/blob"
)

const (
	rulesEvery   = 2 * time.Second // between two looks at the rules
	maxConfBytes = 1 << 20
	maxRules     = 1000
)

// rule says where files below a prefix go, as far as a request does not.
type rule struct {
	Prefix      string `json:"prefix"`
	Collection  string `json:"collection"`
	Replication string `json:"replication"`
	TTL         string `json:"ttl"`
}

// rules are the per-path defaults, of one version of the setting.
type rules struct {
	Version store.Version `json:"version"`
	Rules   []rule        `json:"rules"`
}

// of returns the rule of the longest prefix of a path, the zero rule if there is none.
func (r *rules) of(path store.Path) (best rule) {
	for _, one := range r.Rules {
		if len(one.Prefix) >= len(best.Prefix) && strings.HasPrefix(string(path), one.Prefix) {
			best = one
		}
	}
	return best
}

func (r *rules) check() error {
	if len(r.Rules) > maxRules {
		return fmt.Errorf("%w: more than %d rules", errParameter, maxRules)
	}
	seen := make(map[string]bool)
	for _, one := range r.Rules {
		if !strings.HasPrefix(one.Prefix, "/") || seen[one.Prefix] {
			return fmt.Errorf("%w: prefix %.100q: each begins with a slash and stands once", errParameter, one.Prefix)
		}
		seen[one.Prefix] = true
		if err := blob.CheckCollection(one.Collection); err != nil {
			return err
		}
		if _, err := blob.ParsePlacement(one.Replication); err != nil {
			return err
		}
		if _, err := blob.ParseTTL(one.TTL); err != nil {
			return err
		}
	}
	return nil
}

// readRules takes the rules over as they are in the store.
func (f *Filer) readRules(ctx context.Context) error {
	text, version, err := f.store.Setting(ctx, settingConf)
	if err != nil {
		return err
	}
	if version == f.rules.Load().Version {
		return nil
	}
	r := &rules{Version: version}
	if err := json.Unmarshal(text, &r.Rules); err != nil {
		return fmt.Errorf("%w: the rules: %w", errValue, err)
	}
	f.rules.Store(r)
	return nil
}

// followRules keeps up with what other filers set, until ctx ends.
func (f *Filer) followRules(ctx context.Context) {
	failed := false
	for {
		err := f.readRules(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			f.log.Warn("the rules were not read: those known before stay", "error", err)
		}
		failed = err != nil
		if !pause(ctx, rulesEvery) {
			return
		}
	}
}

// serveConf answers /.weed/conf: it tells the rules, or replaces those of the version that the body names.
func (f *Filer) serveConf(w http.ResponseWriter, r *http.Request) {
	err := error(nil)
	if r.Method == http.MethodPost {
		err = f.setRules(w, r)
	} else {
		err = f.readRules(r.Context())
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	now := *f.rules.Load()
	if now.Rules == nil {
		now.Rules = []rule{}
	}
	answerValue(w, r, http.StatusOK, &now)
}

func (f *Filer) setRules(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(io.LimitReader(f.newBodyReader(w, r), maxConfBytes+1))
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	var wanted rules
	if err := json.Unmarshal(text, &wanted); err != nil || len(text) > maxConfBytes {
		return fmt.Errorf(`%w: send {"version":n,"rules":[{"prefix":"/a/","collection":"","replication":"","ttl":""}]}`, errBody)
	}
	if err := wanted.check(); err != nil {
		return err
	}
	if wanted.Rules == nil {
		wanted.Rules = []rule{}
	}
	value, err := json.Marshal(wanted.Rules)
	if err != nil {
		return err
	}
	version, err := f.store.SetSetting(r.Context(), settingConf, wanted.Version, value)
	if errors.Is(err, store.ErrConflict) {
		return errChanged
	}
	if err != nil {
		return err
	}
	f.rules.Store(&rules{Version: version, Rules: wanted.Rules})
	return nil
}
