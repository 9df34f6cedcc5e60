package http

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/internal/pool/balance"
)

// TestBalanceText proves that a way alone stands for the whole with defaults.
func TestBalanceText(t *testing.T) {
	const known = "expected one of round_robin, random, least_request, peak_ewma, or a mapping such as { hash: <CEL> }"
	for _, tt := range []struct{ name, want string }{
		{"round_robin", ""},
		{"random", ""},
		{"least_request", ""},
		{"peak_ewma", ""},
		{"hash", "hash needs an expression: { hash: <CEL> }"},
		{"best", known},
		{"", known},
	} {
		var b Balance
		got := ""
		if err := b.UnmarshalText([]byte(tt.name)); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.name, got, tt.want)
		}
		if want := (Balance{By: tt.name, Load: 1.25, ZoneOverflow: 0.7}); got == "" && b != want {
			t.Errorf("%q: got %+v, want %+v", tt.name, b, want)
		}
	}
}

// TestBalanceSettings proves what is made of the settings, and which are refused.
func TestBalanceSettings(t *testing.T) {
	whole := balance.Settings{By: balance.RoundRobin, Overflow: 0.7, Load: 1.25}
	with := func(change func(*balance.Settings)) balance.Settings {
		s := whole
		change(&s)
		return s
	}
	for _, tt := range []struct {
		change func(*Balance)
		want   balance.Settings
		err    string
	}{
		{func(*Balance) {}, whole, ""},
		{func(b *Balance) { b.By = "peak_ewma" }, with(func(s *balance.Settings) { s.By = balance.PeakEWMA }), ""},
		{func(b *Balance) { b.Hash, b.Load = "caller.id", 0 }, with(func(s *balance.Settings) { s.By, s.Load = balance.Hash, 0 }), ""},
		{func(b *Balance) { b.By, b.Hash = "hash", "caller.id" }, with(func(s *balance.Settings) { s.By = balance.Hash }), ""},
		{
			func(b *Balance) { b.Zone, b.ZoneOverflow, b.SlowStart = "a", 0.5, time.Minute },
			with(func(s *balance.Settings) { s.Zone, s.Overflow, s.SlowStart = "a", 0.5, time.Minute }), "",
		},
		{func(b *Balance) { b.By = "hash" }, whole, "hash: is needed to choose by hash"},
		{func(b *Balance) { b.By, b.Hash = "random", "caller.id" }, whole, "hash: is for the way hash only; leave out by"},
		{func(b *Balance) { b.Load = 0.9 }, whole, "load: must be 1 to 100, or 0 for no bound"},
		{func(b *Balance) { b.SlowStart = -1 }, whole, "slow_start: must not be negative"},
	} {
		var b Balance
		b.Defaults()
		tt.change(&b)
		got := ""
		if err := b.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.err {
			t.Errorf("%+v: got %q, want %q", b, got, tt.err)
		}
		if diff := cmp.Diff(tt.want, b.settings()); got == "" && diff != "" {
			t.Errorf("%+v (-want +got)\n%s", b, diff)
		}
	}
	_, err := New(keeping(t).env("upstreams.agent"), config(func(c *Config) { c.URL, c.Balance.Hash = "http://127.0.0.1:1", "caller.name" }))
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Field != "balance.hash" {
		t.Errorf("an expression that is wrong: got %v, want a fault of balance.hash", err)
	}
}

// named starts agents that answer with their number, and returns their addresses.
func named(t *testing.T, n int) []Endpoint {
	t.Helper()
	var out []Endpoint
	for i := range n {
		s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { fmt.Fprint(w, i) }))
		t.Cleanup(s.Close)
		out = append(out, Endpoint{URL: s.URL, Weight: 1})
	}
	return out
}

// TestAffinity proves that exchanges with the same text go to the same endpoint, that
// different ones are spread, and so are those that have none.
func TestAffinity(t *testing.T) {
	h := build(t, config(func(c *Config) {
		c.Endpoints, c.Balance.Hash = named(t, 3), `request.headers["x-conversation"]`
	}))
	asked := func(conversation string) string {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if conversation != "" {
			r.Header.Set("X-Conversation", conversation)
		}
		x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
		resp, err := h.Handle(x)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if x.Endpoint == "" {
			t.Error("the exchange does not say which endpoint was asked")
		}
		return string(b)
	}
	spread, strangers := map[string]int{}, map[string]int{}
	for i := range 40 {
		conversation := fmt.Sprint("conversation ", i)
		first := asked(conversation)
		spread[first]++
		for range 3 {
			if got := asked(conversation); got != first {
				t.Errorf("%s went to %s after %s", conversation, got, first)
			}
		}
		strangers[asked("")]++
	}
	if len(spread) != 3 || len(strangers) != 3 {
		t.Errorf("got %v and, without a text, %v; want all three each", spread, strangers)
	}
}

// TestZone proves that the endpoints of the gateway's own zone are preferred, and how a
// snapshot shows it.
func TestZone(t *testing.T) {
	h := build(t, config(func(c *Config) {
		c.Endpoints, c.Balance.Zone = named(t, 3), "b"
		c.Endpoints[0].Zone, c.Endpoints[1].Zone, c.Endpoints[1].Weight = "a", "b", 4
	}))
	for range 10 {
		if _, body, err := ask(t, h); err != nil || body != "1" {
			t.Errorf("got %q, %v, want the one in the zone", body, err)
		}
	}
	s := h.(interface{ Snapshot() pool.Snapshot }).Snapshot()
	got := [3]any{}
	for i, e := range s.Endpoints {
		got[i] = [3]any{e.Zone, e.Weight, e.Requests}
	}
	want := [3]any{[3]any{"a", 1, uint64(0)}, [3]any{"b", 4, uint64(10)}, [3]any{"", 1, uint64(0)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestStatsKept proves that what is known about an endpoint outlives a reload, and that
// one that is new then warms up.
func TestStatsKept(t *testing.T) {
	k := keeping(t)
	agents := named(t, 2)
	change := func(c *Config) {
		c.Endpoints = agents[:1]
		c.Balance = Balance{By: balance.PeakEWMA, SlowStart: time.Hour, Load: 1.25, ZoneOverflow: 0.7}
	}
	first, err := New(k.env("upstreams.x"), config(change))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, _, err := ask(t, first); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	second, err := New(k.env("upstreams.x"), config(change, func(c *Config) { c.Endpoints = agents }))
	if err != nil {
		t.Fatal(err)
	}
	s := second.(interface{ Snapshot() pool.Snapshot }).Snapshot()
	if e := s.Endpoints[0]; e.Requests != 5 || e.Latency <= 0 || e.State != pool.StateHealthy {
		t.Errorf("the one that was there: got %+v, want its 5 requests and a latency", e)
	}
	if e := s.Endpoints[1]; e.State != pool.StateWarming || e.Why == "" || e.Since.IsZero() {
		t.Errorf("the one that is new: got %+v, want it to warm up", e)
	}
	if s.Balance != balance.PeakEWMA {
		t.Errorf("the snapshot says %s", s.Balance)
	}
}
