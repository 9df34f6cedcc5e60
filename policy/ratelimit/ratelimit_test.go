package ratelimit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// environment is an Env whose kept values live as long as it does.
func environment(where string) *airside.Env {
	kept := map[string]any{}
	return &airside.Env{
		Where: where, Log: slog.New(slog.DiscardHandler),
		Keep: func(key string, build func() (any, error)) (any, error) {
			if v, ok := kept[key]; ok {
				return v, nil
			}
			v, err := build()
			kept[key] = v
			return v, err
		},
	}
}

func build(t testing.TB, env *airside.Env, c Config) airside.Middleware {
	t.Helper()
	if c.KeyLimit == 0 {
		c.Defaults()
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(env, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var fine = airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
})

func exchange(addr, caller string) *airside.Exchange {
	x := airside.NewExchange(httptest.NewRequest(http.MethodGet, "http://example.test/a?b=c", nil), slog.New(slog.DiscardHandler))
	x.Client.Addr, x.Caller.ID = addr, caller
	return x
}

// A burst passes at once, the next request waits for exactly its share of per, and
// Retry-After names that time.
func TestSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, environment("policies.fair"), Config{Limit: 6, Per: time.Minute, Burst: 2})(fine)
		for i, step := range []struct {
			after time.Duration
			want  time.Duration // how long it is refused for; 0 if it passes
		}{
			{0, 0},
			{0, 0},
			{0, 10 * time.Second},
			{time.Second, 9 * time.Second},
			{9*time.Second - 1, 1},
			{1, 0},
			{0, 10 * time.Second},
			{time.Hour, 0},
			{0, 0},
			{0, 10 * time.Second},
		} {
			<-time.After(step.after)
			_, err := h.Handle(exchange("192.0.2.1", ""))
			var got time.Duration
			if e, ok := errors.AsType[*airside.Error](err); ok && e.Code == airside.RateLimited {
				got = e.RetryAfter
			} else if err != nil {
				t.Fatal(err)
			}
			if got != step.want {
				t.Errorf("step %d: refused for %v, want %v", i, got, step.want)
			}
		}
	})
}

// However many goroutines ask, burst + rate * t requests pass, no more and no less.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, burst, workers, rounds = 7, 50, 16, 40
		h := build(t, environment("policies.fair"), Config{Limit: limit, Per: time.Second, Burst: burst})(fine)
		var passed atomic.Int64
		ask := func() {
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range burst {
						if _, err := h.Handle(exchange("", "alice")); err == nil {
							passed.Add(1)
						}
					}
				})
			}
			wg.Wait()
		}
		start := time.Now()
		for round := range rounds {
			ask()
			elapsed := time.Since(start)
			if got, want := passed.Load(), burst+int64(elapsed)*limit/int64(time.Second); got != want {
				t.Fatalf("round %d, after %v: %d passed, want %d", round, elapsed, got, want)
			}
			<-time.After(333 * time.Millisecond)
		}
	})
}

func TestFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fair := build(t, environment("policies.fair"), Config{Limit: 2, Per: time.Minute})
		day := build(t, environment(`routes.ü"x".use[0]`), Config{Limit: 1000, Per: 24 * time.Hour, Burst: 5})
		h := airside.Chain(fine, fair, day)
		resp, err := h.Handle(exchange("", "alice"))
		if err != nil {
			t.Fatal(err)
		}
		want := http.Header{
			"Ratelimit-Policy": {`"routes.?\"x\".use[0]";q=1000;w=86400;airside-burst=5`, `"fair";q=2;w=60`},
			"Ratelimit":        {`"routes.?\"x\".use[0]";r=4;t=87`, `"fair";r=1;t=30`},
		}
		if diff := cmp.Diff(want, resp.Header); diff != "" {
			t.Errorf("first answer (-want +got):\n%s", diff)
		}
		if _, err = h.Handle(exchange("", "alice")); err != nil {
			t.Fatal(err)
		}
		_, err = h.Handle(exchange("", "alice"))
		e := airside.AsError(err)
		want = http.Header{"Ratelimit-Policy": {`"fair";q=2;w=60`}, "Ratelimit": {`"fair";r=0;t=30`}}
		if diff := cmp.Diff(want, e.Header); diff != "" {
			t.Errorf("refusal (-want +got):\n%s", diff)
		}
		if got, want := e.Message, "the rate limit of 2 per 1m is used up; try again in 30 s"; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
	})
}

// A bucket that is full has no time at which it gets fuller.
func TestFullBucketHasNoReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			<-time.After(time.Minute)
			return fine(x)
		})
		resp, err := build(t, environment("policies.fair"), Config{Limit: 2, Per: time.Minute})(slow).Handle(exchange("", "alice"))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := resp.Header["Ratelimit"], []string{`"fair";r=2`}; !cmp.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The fields are on errors from further in too, and an error that exchanges share
// is left as it is.
func TestFieldsOnErrors(t *testing.T) {
	shared := airside.Errorf(airside.UpstreamFailed, "no")
	wrapped := errors.Join(context.Canceled, shared)
	for _, tt := range []struct {
		name string
		err  error
		code airside.Code
	}{
		{"ours", shared, airside.UpstreamFailed},
		{"ours, wrapped", wrapped, airside.UpstreamFailed},
		{"any", context.DeadlineExceeded, airside.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failing := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, tt.err })
			fair := build(t, environment("policies.fair"), Config{Limit: 10, Per: time.Second})
			_, err := fair(failing).Handle(exchange("", "alice"))
			e := airside.AsError(err)
			if e.Code != tt.code || len(e.Header["Ratelimit"]) != 1 || len(e.Header["Ratelimit-Policy"]) != 1 {
				t.Errorf("got %v with %v, want %s with the fields", e, e.Header, tt.code)
			}
			if shared.Header != nil {
				t.Fatalf("the shared error was changed: %v", shared.Header)
			}
			if tt.err == wrapped && !errors.Is(err, context.Canceled) {
				t.Error("what the error was wrapped in is lost")
			}
		})
	}
}

// Who is counted together: each row makes two requests with a limit of one.
func TestKeys(t *testing.T) {
	type who struct{ addr, caller string }
	long := strings.Repeat("x", 10_000)
	for _, tt := range []struct {
		name     string
		by       string
		a, b     who
		together bool
	}{
		{"one address", "", who{"192.0.2.1", ""}, who{"192.0.2.1", ""}, true},
		{"two addresses", "", who{"192.0.2.1", ""}, who{"192.0.2.2", ""}, false},
		{"an address, and as IPv6", "", who{"192.0.2.1", ""}, who{"::ffff:192.0.2.1", ""}, true},
		{"one /64", "", who{"2001:db8::1", ""}, who{"2001:db8::ffff:1:2:3", ""}, true},
		{"two /64", "", who{"2001:db8:0:1::1", ""}, who{"2001:db8:0:2::1", ""}, false},
		{"zone left aside", "", who{"fe80::1%eth0", ""}, who{"fe80::1%eth1", ""}, true},
		{"behind NAT64", "", who{"64:ff9b::192.0.2.1", ""}, who{"64:ff9b::192.0.2.2", ""}, false},
		{"no address", "", who{"@", ""}, who{"@", ""}, true},
		{"a caller, from two addresses", "", who{"192.0.2.1", "alice"}, who{"192.0.2.2", "alice"}, true},
		{"two callers, from one address", "", who{"192.0.2.1", "alice"}, who{"192.0.2.1", "bob"}, false},
		{"a caller called like an address", "", who{"192.0.2.1", ""}, who{"192.0.2.9", "192.0.2.1"}, false},
		{"a caller called like no address", "", who{"@", ""}, who{"192.0.2.9", "@"}, false},
		{"long names that begin alike", "", who{"", long + "a"}, who{"", long + "b"}, false},
		{"a long name", "", who{"", long}, who{"", long}, true},
		{"by address", "request.remote", who{"192.0.2.1", "alice"}, who{"192.0.2.1", "bob"}, true},
		{"by caller", "caller.id", who{"192.0.2.1", ""}, who{"192.0.2.2", ""}, true},
		{"by what is missing", `request.headers["x-team"]`, who{"192.0.2.1", ""}, who{"192.0.2.2", "bob"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := build(t, environment("policies.fair"), Config{Limit: 1, Per: time.Hour, By: tt.by})(fine)
			if _, err := h.Handle(exchange(tt.a.addr, tt.a.caller)); err != nil {
				t.Fatal(err)
			}
			_, err := h.Handle(exchange(tt.b.addr, tt.b.caller))
			if got := err != nil; got != tt.together {
				t.Errorf("counted together: %v (%v), want %v", got, err, tt.together)
			}
		})
	}
}

// A request that the expression finds ambiguous is refused, not counted.
func TestAmbiguousRequest(t *testing.T) {
	h := build(t, environment("policies.fair"), Config{Limit: 1, Per: time.Hour, By: "request.query.team"})(fine)
	x := exchange("192.0.2.1", "")
	x.Request.URL.RawQuery = "team=a&team=b"
	if _, err := h.Handle(x); err == nil || airside.AsError(err).Code != airside.Invalid {
		t.Errorf("got %v, want %s", err, airside.Invalid)
	}
}

// A reload keeps the counters; other numbers apply to them at once, and nobody
// waits longer than the new numbers can ask for.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment("policies.fair")
		use := func(c Config) error {
			_, err := build(t, env, c)(fine).Handle(exchange("", "alice"))
			return err
		}
		refused := func(err error) time.Duration {
			t.Helper()
			if err == nil {
				t.Fatal("passed, want refused")
			}
			return airside.AsError(err).RetryAfter
		}
		hourly := Config{Limit: 2, Per: time.Hour}
		for range 2 {
			if err := use(hourly); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := refused(use(hourly)), 30*time.Minute; got != want {
			t.Errorf("same numbers: wait %v, want %v", got, want)
		}
		if got, want := refused(use(Config{Limit: 60, Per: time.Minute, Burst: 10})), time.Second; got != want {
			t.Errorf("shorter window: wait %v, want %v", got, want)
		}
		<-time.After(time.Second)
		if err := use(Config{Limit: 60, Per: time.Minute, Burst: 10}); err != nil {
			t.Errorf("after the wait of the new numbers: %v", err)
		}
		if err := use(Config{Limit: 60, Per: time.Minute, Burst: 10, By: "caller.id"}); err != nil {
			t.Errorf("another by does not start anew: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"no limit", Config{Per: time.Second}, "limit: must be from 1 to 1000000000"},
		{"negative burst", Config{Limit: 1, Per: time.Second, Burst: -1}, "burst: must be from 1 to 1000000000, or left out"},
		{"part of a second", Config{Limit: 1, Per: 1500 * time.Millisecond}, "per: must be a whole number of seconds, such as 1s, 1m or 1h, and at most 8784h"},
		{"no time", Config{Limit: 1}, "per: must be a whole number of seconds, such as 1s, 1m or 1h, and at most 8784h"},
		{"for ever", Config{Limit: 1, Per: 8784 * time.Hour, Burst: 11}, "burst: would take longer than ten years to come back"},
		{"beyond 128 bits", Config{Limit: 1, Per: 8784 * time.Hour, Burst: maxCount}, "burst: would take longer than ten years to come back"},
		{"few keys", Config{Limit: 1, Per: time.Second, KeyLimit: 10}, "key_limit: must be from 1000 to 100000000"},
		{"the largest", Config{Limit: maxCount, Per: maxPer, Burst: maxCount, KeyLimit: maxKeys}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.c.KeyLimit == 0 {
				tt.c.Defaults()
			}
			got := ""
			if err := tt.c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	_, err := New(environment("policies.fair"), Config{Limit: 1, Per: time.Second, By: "caller."})
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Field != "by" {
		t.Errorf("bad expression: %v, want an error of the field by", err)
	}
}
