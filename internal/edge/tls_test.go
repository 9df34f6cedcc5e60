package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issue makes a certificate for name and writes it, with its key, into dir.
func issue(t *testing.T, dir, name string, serial int64) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	for file, block := range map[string]*pem.Block{p.Key: {Type: "PRIVATE KEY", Bytes: pkcs8}, p.Cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// serialOf is the serial number of the certificate that addr shows to who asks for name.
func serialOf(t *testing.T, addr, name string) int64 {
	t.Helper()
	c, err := (&tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificateByName(t *testing.T) {
	dir := t.TempDir()
	_, addr := start(t, &Listener{TLS: &TLS{Pairs: []Pair{issue(t, dir, "a.example", 1), issue(t, dir, "b.example", 2)}}}, echo)
	for name, want := range map[string]int64{"a.example": 1, "b.example": 2, "c.example": 1, "": 1} {
		if got := serialOf(t, addr, name); got != want {
			t.Errorf("%q got certificate %d, want %d", name, got, want)
		}
	}
}

// A renewed certificate is taken without a restart, and one that is broken is not.
func TestCertificateRenewed(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir, "a.example", 1)
	s, addr := start(t, &Listener{TLS: &TLS{Pairs: []Pair{pair}}}, echo)
	if got := serialOf(t, addr, "a.example"); got != 1 {
		t.Fatalf("got certificate %d, want 1", got)
	}
	l := s.sockets["127.0.0.1:0"].live.Load()
	first := l.TLS.live.Load()
	if err := os.WriteFile(pair.Cert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	issue(t, dir, "a.example", 2)
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for l.TLS.live.Load() == first {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the renewed certificate was not taken")
		}
	}
	if got := serialOf(t, addr, "a.example"); got != 2 {
		t.Errorf("got certificate %d, want 2", got)
	}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	server, client, stranger := issue(t, dir, "localhost", 1), issue(t, dir, "client", 2), issue(t, dir, "stranger", 3)
	for _, tt := range []struct {
		name     string
		required bool
		show     *Pair
		ok       bool
	}{
		{"required and shown", true, &client, true},
		{"required and missing", true, nil, false},
		{"required, of another authority", true, &stranger, false},
		{"optional and missing", false, nil, true},
		{"optional, of another authority", false, &stranger, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := start(t, &Listener{TLS: &TLS{Pairs: []Pair{server}, ClientCA: client.Cert, ClientRequired: tt.required}}, echo)
			conf := &tls.Config{InsecureSkipVerify: true}
			if tt.show != nil {
				c, err := tls.LoadX509KeyPair(tt.show.Cert, tt.show.Key)
				if err != nil {
					t.Fatal(err)
				}
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
			}
			tr := &http.Transport{TLSClientConfig: conf}
			defer tr.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if ok := err == nil; ok != tt.ok {
				t.Fatalf("got %v, want ok=%v", err, tt.ok)
			}
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

// What cannot be served is refused whole: nothing stays open.
func TestPrepareAllOrNothing(t *testing.T) {
	s, addr := start(t, &Listener{}, echo)
	bad := []*Listener{
		{Address: "127.0.0.1:0", HTTP1: true, Limits: generous},
		{Address: "localhost:0", HTTP1: true, Limits: generous},
		{Address: addr, HTTP1: true, Limits: generous}, // in use, by this very server
		{Address: "127.0.0.2:0", HTTP1: true, Limits: generous, TLS: &TLS{Pairs: []Pair{{Cert: "none.crt", Key: "none.key"}}}},
	}
	c, err := s.Prepare(bad)
	if err == nil {
		c.Discard()
		t.Fatal("accepted")
	}
	if got := len(s.Addrs()); got != 1 {
		t.Errorf("%d addresses are open, want 1", got)
	}
}
