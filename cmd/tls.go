package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

// tlsFlags say whether a connection to a server is encrypted, and who may have signed its certificate.
type tlsFlags struct {
	prefix string
	on     bool
	caFile string
}

// register makes the flags prefixtls and prefixcaFile.
func (f *tlsFlags) register(flags *pflag.FlagSet, prefix, of, certificate string) {
	f.prefix = prefix
	flags.BoolVar(&f.on, prefix+"tls", false, "Encrypt the connections to "+of+". "+certificate)
	flags.StringVar(&f.caFile, prefix+"caFile", "", "With -"+prefix+"tls: a PEM `file` with the certificates of those who may have "+
		"signed, instead of those that the system trusts.")
}

// read returns the settings, nil for a connection that is not encrypted.
func (f *tlsFlags) read() (*tls.Config, error) {
	switch {
	case !f.on && f.caFile != "":
		return nil, fmt.Errorf("-%[1]scaFile is for -%[1]stls", f.prefix)
	case !f.on:
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caFile == "" {
		return config, nil
	}
	certificates, err := os.ReadFile(f.caFile)
	if err != nil {
		return nil, fmt.Errorf("-%scaFile: %w", f.prefix, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(certificates) {
		return nil, fmt.Errorf("-%scaFile: there is no certificate in %s", f.prefix, f.caFile)
	}
	return config, nil
}
