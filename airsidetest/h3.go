package airsidetest

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// overQUIC is what sends requests in mode [H3]. It is closed with the test.
func overQUIC(t testing.TB) http.RoundTripper {
	tr := &http3.Transport{
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate under test is self-signed
		Logger:             slog.New(slog.DiscardHandler),
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("closing the HTTP/3 client: %v", err)
		}
	})
	return tr
}
