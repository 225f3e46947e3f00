package cassandra

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"weed/filer/store"
	"weed/internal/cassandratest"
)

// TestEncryption keeps a tree over encrypted connections, and not with a server whose certificate nobody knows.
func TestEncryption(t *testing.T) {
	cfg := newKeyspace(t)
	cfg.TLS = &tls.Config{RootCAs: cassandratest.Shared(t).Trust(), MinVersion: tls.VersionTLS12}
	s := open(t, cfg)
	v := put(t, s, "/f", 0, "v", store.Effects{})
	if rec, err := s.Find(t.Context(), "/f"); err != nil || rec.Version != v || string(rec.Value) != "v" {
		t.Errorf("%+v, %v", rec, err)
	}
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	s, err := Open(t.Context(), cfg, store.Options{})
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a certificate that nobody knows: %v", err)
	} else {
		t.Log(err)
	}
}
