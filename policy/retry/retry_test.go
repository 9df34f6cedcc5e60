package retry

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

// What a route has at its disposal is what the engine does: its own tests prove the
// rest.
func TestPolicy(t *testing.T) {
	failed := airside.Errorf(airside.UpstreamFailed, "no")
	for _, tt := range []struct {
		name     string
		change   func(*Config)
		method   string
		headers  http.Header
		statuses []int // of each try; 0 is an error
		want     int
		tries    int
	}{
		{"first try", nil, "GET", nil, []int{200}, 200, 1},
		{"second try", nil, "GET", nil, []int{503, 200}, 200, 2},
		{"second try after an error", nil, "GET", nil, []int{0, 200}, 200, 2},
		{"all tries", nil, "GET", nil, []int{503, 503, 503}, 503, 3},
		{"all tries in errors", nil, "GET", nil, []int{0, 0, 0}, 0, 3},
		{"not listed", nil, "GET", nil, []int{500}, 500, 1},
		{"listed", func(c *Config) { c.On = []pool.Reason{"500"} }, "GET", nil, []int{500, 503}, 503, 2},
		{"fewer tries", func(c *Config) { c.Attempts = 2 }, "GET", nil, []int{503, 503}, 503, 2},
		{"not safe", nil, "POST", nil, []int{503}, 503, 1},
		{"safe by its key", nil, "POST", http.Header{"Idempotency-Key": {"1"}}, []int{503, 200}, 200, 2},
		{"too large to be kept", func(c *Config) { c.Body = 3 }, "PUT", nil, []int{503}, 503, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c Config
				c.Defaults()
				if tt.change != nil {
					tt.change(&c)
				}
				if err := c.Validate(); err != nil {
					t.Fatal(err)
				}
				m, err := New(&airside.Env{}, c)
				if err != nil {
					t.Fatal(err)
				}
				tries := 0
				agent := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
					if b, err := io.ReadAll(x.Request.Body); err != nil || string(b) != "hello" {
						t.Errorf("try %d got the body %q, %v", tries+1, b, err)
					}
					status := tt.statuses[tries]
					tries++
					if status == 0 {
						return nil, failed
					}
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
				})
				r := httptest.NewRequestWithContext(t.Context(), tt.method, "http://example.test/", strings.NewReader("hello"))
				maps.Copy(r.Header, tt.headers)
				x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
				got := 0
				resp, err := m(agent).Handle(x)
				if err == nil {
					got = resp.StatusCode
				}
				if got != tt.want || tries != tt.tries {
					t.Errorf("got %d (%v) after %d tries, want %d after %d", got, err, tries, tt.want, tt.tries)
				}
			})
		})
	}
}

// A try that would begin after the deadline of the exchange is not made.
func TestNoTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Config
		c.Defaults()
		m, err := New(&airside.Env{}, c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		tries := 0
		agent := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			tries++
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"4"}}, Body: http.NoBody}, nil
		})
		x := airside.NewExchange(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://example.test/", nil), slog.New(slog.DiscardHandler))
		resp, err := m(agent).Handle(x)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || tries != 1 {
			t.Errorf("got %v, %v after %d tries, want the first answer", resp, err, tries)
		}
	})
}

func TestSettings(t *testing.T) {
	k, ok := airside.PolicyKind("retry")
	if !ok {
		t.Fatal("not registered")
	}
	_, err := k.Build(&airside.Env{}, func(v any) error {
		c, ok := v.(*Config)
		if !ok {
			t.Fatalf("settings are %T", v)
		}
		c.Defaults()
		c.Attempts = 11
		return c.Validate()
	})
	if err == nil || !strings.Contains(err.Error(), "attempts: must be 1 to 10") {
		t.Errorf("11 attempts: got %v", err)
	}
}
