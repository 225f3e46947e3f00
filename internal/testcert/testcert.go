// Package testcert makes certificates for the servers of tests.
//
// It owns the files. They are for loopback, sign themselves, and are good for an hour. It refuses to be used outside of
// tests.
//
//	cert, err := testcert.Write(t.TempDir())
//	client := &tls.Config{RootCAs: cert.Trust}
package testcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificate is that of a server.
type Certificate struct {
	CertFile, KeyFile string         // PEM
	Both              string         // a PEM file with the key and the certificate
	Trust             *x509.CertPool // of who believes it
}

// Write makes a certificate for 127.0.0.1 to 127.0.0.9 and puts it into a directory. Errors are those of the disk.
func Write(dir string) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for i := range byte(9) {
		text.IPAddresses = append(text.IPAddresses, net.IPv4(127, 0, 0, i+1))
	}
	signed, err := x509.CreateCertificate(rand.Reader, text, text, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	c := &Certificate{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), Both: filepath.Join(dir, "both.pem"),
		Trust: x509.NewCertPool()}
	c.Trust.AppendCertsFromPEM(public)
	return c, errors.Join(os.WriteFile(c.CertFile, public, 0o600), os.WriteFile(c.KeyFile, private, 0o600),
		os.WriteFile(c.Both, bytes.Join([][]byte{private, public}, nil), 0o600))
}
