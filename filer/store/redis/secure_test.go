package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/redistest"
	"weed/internal/testcert"
)

// TestUserAndEncryption: a user with no more rights than the handbook names keeps a tree over an encrypted connection, and
// who is wrong in one of these is told so.
func TestUserAndEncryption(t *testing.T) {
	cert, err := testcert.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := redistest.Start(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", cert.CertFile, "--tls-key-file", cert.KeyFile,
		"--tls-auth-clients", "no", "--user", "default", "off", "--user", "alice", "on", ">secret", "~weed:*", "+@read", "+@write",
		"+@scripting", "+@connection", "+config|get")
	good := Config{Addr: s.Addr(), Username: "alice", Password: "secret", TLS: &tls.Config{RootCAs: cert.Trust, MinVersion: tls.VersionTLS12}}
	st, err := Open(context.Background(), good, storetest.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if warnings := st.Warnings(context.Background()); len(warnings) > 0 {
		t.Error(warnings)
	}
	storetest.Run(t, func(t *testing.T) store.Store {
		c := good
		c.Prefix = "weed:" + t.Name() + ":"
		st, err := Open(context.Background(), c, storetest.Options())
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
	for says, change := range map[string]func(*Config){
		"WRONGPASS":    func(c *Config) { c.Password = "wrong" },
		"NOAUTH":       func(c *Config) { c.Username, c.Password = "", "" },
		"certificate":  func(c *Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12} },
		"redis at 127": func(c *Config) { c.TLS = nil },
		"NOPERM":       func(c *Config) { c.Prefix = "other:" },
	} {
		c := good
		change(&c)
		st, err := Open(context.Background(), c, storetest.Options())
		if err == nil {
			_ = st.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
