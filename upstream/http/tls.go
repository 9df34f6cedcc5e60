package http

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

// TLS says how https is spoken.
type TLS struct {
	// CA is a file of certificates (PEM) of the authorities that the agent's
	// certificate must come from. The default is those of the system.
	CA string `yaml:"ca,path"`

	// Cert is the file of the certificate (PEM, with what is between it and its
	// authority) by which the gateway proves who it is. It needs key.
	Cert string `yaml:"cert,path"`

	// Key is the file of the private key (PEM) of cert.
	Key string `yaml:"key,path"`

	// ServerName is the name that the agent's certificate must bear, and that the
	// handshake asks for. The default is the host of the URL.
	ServerName string `yaml:"server_name"`
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (t *TLS) Validate() error {
	switch {
	case t.Cert != "" && t.Key == "":
		return airside.FieldErrorf("cert", "needs key, the file of its private key")
	case t.Key != "" && t.Cert == "":
		return airside.FieldErrorf("key", "needs cert, the file of its certificate")
	}
	return nil
}

// maxPEM bounds the files: the authorities of a whole system are a quarter of it.
const maxPEM = 1 << 20

// load reads the files and returns the configuration, and a digest of everything that
// it was made of. Nil is the defaults.
func (t *TLS) load() (*tls.Config, [sha256.Size]byte, error) {
	cfg := pool.TLSConfig()
	if t == nil {
		return cfg, [sha256.Size]byte{}, nil
	}
	ca, cerr := read("tls.ca", t.CA)
	cert, perr := read("tls.cert", t.Cert)
	key, kerr := read("tls.key", t.Key)
	if err := errors.Join(cerr, perr, kerr); err != nil {
		return nil, [sha256.Size]byte{}, err
	}
	cfg.ServerName = t.ServerName
	if t.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(ca) {
			return nil, [sha256.Size]byte{}, airside.FieldErrorf("tls.ca", "the file holds no certificate (PEM)")
		}
	}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, [sha256.Size]byte{}, airside.FieldErrorf("tls.cert", "the files are not a certificate and its key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, digest(ca, cert, key, []byte(t.ServerName)), nil
}

// read reads the file of a setting, if one is named.
func read(field, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, airside.FieldErrorf(field, "cannot read %q: %s", path, reason(err))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, airside.FieldErrorf(field, "cannot read %q: %s", path, reason(err))
	}
	if len(b) > maxPEM {
		return nil, airside.FieldErrorf(field, "%q is larger than %s", path, airside.Size(maxPEM))
	}
	return b, nil
}

// reason is why a file cannot be read, without its path.
func reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it does not exist"
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// digest is one for all parts in their order.
func digest(parts ...[]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p)))) // it never fails
		_, _ = h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}
