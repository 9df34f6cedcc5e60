package app

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/policy/allow"
	"github.com/airside-gateway/airside/policy/apikey"
	"github.com/airside-gateway/airside/policy/headers"
	"github.com/airside-gateway/airside/policy/ratelimit"
)

const chainKey = "sk-bench-0123456789abcdef0123456789abcdef"

// usualChain is the policies that most routes have, in front of an agent that answers at
// once, and an exchange for it as an engine makes it.
func usualChain(t testing.TB) (airside.Handler, *airside.Exchange) {
	t.Helper()
	var key apikey.Config
	key.Defaults()
	key.Keys = map[string]apikey.Key{"load": {Key: []airside.Secret{chainKey}, Claims: map[string]any{"roles": []any{"bench"}}}}
	limit := ratelimit.Config{Limit: 1_000_000_000, Per: time.Minute, By: "caller.id"}
	limit.Defaults()
	var chain []airside.Middleware
	add := func(m airside.Middleware, err error) {
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, m)
	}
	env := func(name string) *airside.Env {
		return &airside.Env{Where: "policies." + name, Keep: func(_ string, build func() (any, error)) (any, error) { return build() }}
	}
	add(apikey.New(env("callers"), key))
	add(allow.New(env("allowed"), allow.Config{Rule: `"bench" in caller.claims.roles`}))
	add(ratelimit.New(env("fair"), limit))
	add(headers.New(env("tell"), headers.Config{Request: headers.Changes{Set: map[string]headers.Value{"X-Caller": {CEL: "caller.id"}}}}))
	resp := &http.Response{StatusCode: http.StatusOK, Header: make(http.Header, 16)}
	agent := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		if h := x.Request.Header; len(h["X-Caller"]) != 1 || len(h["Authorization"]) != 0 {
			t.Errorf("the agent sees %v", h)
		}
		clear(resp.Header)
		return resp, nil
	})
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", http.NoBody)
	for name, value := range map[string]string{
		"Authorization": "Bearer " + chainKey, "Content-Type": "application/json", "User-Agent": "load/1", "Accept": "application/json",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "Content-Length": "1024",
	} {
		r.Header.Set(name, value)
	}
	return airside.Chain(agent, chain...), airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// TestChainAllocates proves what the usual chain costs in memory: a request of its own for
// apikey and for headers, each with a map, and the lines of the rate limit.
func TestChainAllocates(t *testing.T) {
	h, x := usualChain(t)
	n := testing.AllocsPerRun(100, func() {
		if _, err := h.Handle(x); err != nil {
			t.Error(err)
		}
	})
	if n > 8 {
		t.Errorf("%v allocations, want 8 at most", n)
	}
}

func BenchmarkChain(b *testing.B) {
	h, x := usualChain(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
