package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/watch"
)

// TLS is how a listener is encrypted. Its files are watched, and taken anew when
// they change, as long as they are valid.
type TLS struct {
	Pairs          []Pair // the first serves clients that name no host, or none of ours
	SelfSigned     bool   // make a certificate for localhost instead; for development
	ClientCA       string // file of the authorities that sign client certificates; empty: clients show none
	ClientRequired bool   // a client without a certificate is refused
	MinVersion     uint16 // tls.VersionTLS12 or later

	live    atomic.Pointer[tls.Config]
	watcher *watch.Watcher
}

// A Pair names the files of a certificate (with its chain) and its key, both PEM.
type Pair struct{ Cert, Key string }

// aead are the suites of TLS 1.2 that are offered: authenticated encryption with
// forward secrecy (RFC 9325 section 4.2). TLS 1.3 has no others.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// config loads the files and watches them. What it returns stays valid: it looks
// the newest certificates up for each handshake.
func (t *TLS) config(s *Server, h1, h2 bool) (*tls.Config, error) {
	var protos []string
	if h2 {
		protos = append(protos, "h2")
	}
	if h1 {
		protos = append(protos, "http/1.1")
	}
	if files := t.files(); len(files) > 0 {
		w, err := watch.Files(files, func() { t.renew(s, protos) })
		if err != nil {
			return nil, err
		}
		t.watcher = w // before the files are read, so that no change is missed
	}
	conf, err := t.load(s, protos)
	if err != nil {
		t.stop()
		return nil, err
	}
	t.live.CompareAndSwap(nil, conf)
	return &tls.Config{
		MinVersion: t.MinVersion, NextProtos: protos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.live.Load(), nil },
	}, nil
}

// renew takes changed files, if they are valid.
func (t *TLS) renew(s *Server, protos []string) {
	conf, err := t.load(s, protos)
	if err != nil {
		s.Log.LogAttrs(s.ctx, slog.LevelError, "the renewed certificate is not valid; the old one stays", slog.Any("err", err))
		return
	}
	t.live.Store(conf)
	s.Log.LogAttrs(s.ctx, slog.LevelInfo, "certificates renewed", slog.Int("pairs", len(conf.Certificates)))
}

// Check reads the files as if they were to be served, and says what is wrong.
func (t *TLS) Check() error {
	_, err := t.load(New(Settings{}), nil)
	return err
}

func (t *TLS) files() []string {
	var fs []string
	for _, p := range t.Pairs {
		fs = append(fs, p.Cert, p.Key)
	}
	if t.ClientCA != "" {
		fs = append(fs, t.ClientCA)
	}
	return fs
}

// stop ends the watch. Connections that are open keep what they have.
func (t *TLS) stop() {
	if t.watcher != nil {
		_ = t.watcher.Close() // closing a watch fails only if it was closed before
		t.watcher = nil
	}
}

func (t *TLS) load(s *Server, protos []string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: max(t.MinVersion, tls.VersionTLS12), CipherSuites: aead, NextProtos: protos}
	for _, p := range t.Pairs {
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err)
		}
		conf.Certificates = append(conf.Certificates, c)
	}
	if t.SelfSigned {
		c, err := s.selfSigned()
		if err != nil {
			return nil, err
		}
		conf.Certificates = append(conf.Certificates, *c)
	}
	if len(conf.Certificates) == 0 {
		return nil, errors.New("TLS needs a certificate: give cert and key, or self_signed")
	}
	if t.ClientCA != "" {
		pool, err := authorities(t.ClientCA)
		if err != nil {
			return nil, err
		}
		conf.ClientCAs, conf.ClientAuth = pool, tls.VerifyClientCertIfGiven
		if t.ClientRequired {
			conf.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return conf, nil
}

func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("reading the authorities of client certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

// selfSigned makes a certificate for this machine, once in the life of the server,
// so that whoever trusted it goes on trusting it after a reload.
func (s *Server) selfSigned() (*tls.Certificate, error) {
	s.ownOnce.Do(func() { s.own, s.ownErr = makeCertificate(time.Now()) })
	return s.own, s.ownErr
}

// ownLife is how long a self-signed certificate lasts. Browsers refuse more than 398 days.
const ownLife = 397 * 24 * time.Hour

func makeCertificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Airside self-signed"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(ownLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		t.DNSNames = append(t.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
