package http

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	nethttp "net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiscoveredTLS proves that an agent that is found at an address must have a
// certificate for the host of the url, is asked for that host below its path, and that
// another certificate is refused.
func TestDiscoveredTLS(t *testing.T) {
	ca := authority(t)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert := sign(t, ca, &x509.Certificate{DNSNames: []string{"agent.example"}, ExtKeyUsage: both}).pair(t)
	address := secure(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.URL.Path)
	})
	dir := t.TempDir()
	file, authorities := filepath.Join(dir, "agents"), filepath.Join(dir, "ca.pem")
	writeFile(t, file, []byte("- "+strings.TrimPrefix(address, "https://")+"\n"))
	writeFile(t, authorities, ca.certPEM)
	for _, tt := range []struct{ engine, url, want string }{
		{"fast", "https://agent.example/base", "agent.example /base/"},
		{"std", "https://agent.example/base", "agent.example /base/"},
		{"fast", "https://other.example", "the certificate of the agent is not valid"},
	} {
		d, _ := follow(t, config(func(c *Config) {
			c.URL, c.Engine, c.TLS = tt.url, tt.engine, &TLS{CA: authorities}
			c.Discover = &Discover{File: &File{Path: file}}
		}))
		_, got, err := ask(t, d)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s at %s: got %q, want %q", tt.engine, tt.url, got, tt.want)
		}
	}
}
