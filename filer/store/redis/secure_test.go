package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/redistest"
)

// selfSigned writes the certificate of a server on loopback and its key, and returns who trusts it.
func selfSigned(t *testing.T) (certificate, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, text, text, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key = write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
	trust = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust.AddCert(parsed)
	return certificate, key, trust
}

// TestUserAndEncryption: a user with no more rights than the handbook names keeps a tree over an encrypted connection, and
// who is wrong in one of these is told so.
func TestUserAndEncryption(t *testing.T) {
	certificate, key, trust := selfSigned(t)
	s := redistest.Start(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-auth-clients", "no", "--user", "default", "off", "--user", "alice", "on", ">secret", "~weed:*", "+@read", "+@write",
		"+@scripting", "+@connection", "+config|get")
	good := Config{Addr: s.Addr(), Username: "alice", Password: "secret", TLS: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}}
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
