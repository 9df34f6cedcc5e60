package pool

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
)

// BenchmarkHandle measures an exchange of 1 KiB both ways, beside net/http alone.
func BenchmarkHandle(b *testing.B) {
	payload := strings.Repeat("x", 1<<10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, payload)
	}))
	b.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		b.Fatal(err)
	}
	e, err := Open(u, link())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	p, err := New(Settings{Members: []Member{{Endpoint: e, Weight: 1}}, Limits: limits, Host: HostUpstream})
	if err != nil {
		b.Fatal(err)
	}
	bare := &http.Transport{DisableCompression: true}
	b.Cleanup(bare.CloseIdleConnections)
	for _, h := range []struct {
		name string
		airside.Handler
	}{{"pool", p}, {"bare", airside.FromTransport(bare)}} {
		for _, method := range []string{"GET", "POST"} {
			b.Run(h.name+"/"+method, func(b *testing.B) {
				b.ReportAllocs()
				buf := make([]byte, 32<<10)
				for b.Loop() {
					r := httptest.NewRequestWithContext(b.Context(), method, s.URL, http.NoBody)
					if method == "POST" {
						r.Body, r.ContentLength = io.NopCloser(strings.NewReader(payload)), int64(len(payload))
					}
					r.RequestURI = ""
					resp, err := h.Handle(airside.NewExchange(r, slog.New(slog.DiscardHandler)))
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
					_ = resp.Body.Close()
				}
			})
		}
	}
}
