package concurrency

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// environment is an Env whose kept values live as long as it does.
func environment() *airside.Env {
	kept := map[string]any{}
	return &airside.Env{
		Where: "policies.gpu", Log: slog.New(slog.DiscardHandler),
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

func build(t testing.TB, env *airside.Env, c Config) airside.Handler {
	t.Helper()
	if c.Wait == 0 {
		c.Defaults()
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(env, c)
	if err != nil {
		t.Fatal(err)
	}
	return m(fine)
}

var fine = airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
})

func exchange(ctx context.Context, caller string) *airside.Exchange {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://example.test/", nil)
	x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
	x.Caller.ID = caller
	return x
}

func finish(x *airside.Exchange) { x.Finish(airside.Outcome{}) }

// check asks for the desk of env to be as if nobody had ever come.
func check(t *testing.T, env *airside.Env, by string) {
	t.Helper()
	d, err := airside.Keep(env, "concurrency:"+env.Where+":"+by, newDesk)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.rooms) != 0 || len(d.in) != 0 {
		t.Errorf("%d rooms and %d places are left, want none", len(d.rooms), len(d.in))
	}
}

func code(err error) airside.Code {
	if err == nil {
		return ""
	}
	return airside.AsError(err).Code
}

// Places are held until the exchange is done, not until the answer is there.
func TestPlacesAreHeldToTheEnd(t *testing.T) {
	env := environment()
	h := build(t, env, Config{Max: 2})
	ctx := t.Context()
	a, b := exchange(ctx, ""), exchange(ctx, "")
	for _, x := range []*airside.Exchange{a, b} {
		if _, err := h.Handle(x); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.Handle(exchange(ctx, ""))
	if e := airside.AsError(err); err == nil || e.Code != airside.Unavailable || e.RetryAfter != time.Second {
		t.Fatalf("third: %v, want unavailable for a second", err)
	}
	finish(a)
	finish(a)
	c := exchange(ctx, "")
	if _, err := h.Handle(c); err != nil {
		t.Fatalf("after one is done: %v", err)
	}
	if _, err := h.Handle(exchange(ctx, "")); code(err) != airside.Unavailable {
		t.Fatalf("one place was given back, but two were to be had (%v)", err)
	}
	finish(b)
	finish(c)
	check(t, env, "")
}

// A further try of an exchange, or a second use of the policy on its way, does not
// wait for the exchange itself.
func TestOnePlaceForAnExchange(t *testing.T) {
	env := environment()
	h := build(t, env, Config{Max: 1})
	x := exchange(t.Context(), "")
	for range 3 {
		if _, err := h.Handle(x); err != nil {
			t.Fatal(err)
		}
	}
	finish(x)
	check(t, env, "")
}

func TestBy(t *testing.T) {
	env := environment()
	h := build(t, env, Config{Max: 1, By: "caller.claims.team", Wait: 3 * time.Second})
	ctx := t.Context()
	var in []*airside.Exchange
	for _, step := range []struct {
		team any
		want airside.Code
	}{
		{"a", ""}, {"b", ""}, {"a", airside.RateLimited}, {nil, ""}, {nil, airside.RateLimited}, {"", airside.RateLimited},
	} {
		x := exchange(ctx, "")
		if step.team != nil {
			x.Caller.Claims = map[string]any{"team": step.team}
		}
		_, err := h.Handle(x)
		if got := code(err); got != step.want {
			t.Errorf("team %v: %v, want %q", step.team, err, step.want)
		}
		if err != nil && airside.AsError(err).RetryAfter != 3*time.Second {
			t.Errorf("try again after %v, want 3s", airside.AsError(err).RetryAfter)
		}
		in = append(in, x)
	}
	for _, x := range in {
		finish(x)
	}
	check(t, env, "caller.claims.team")
}

// A request that the expression finds ambiguous is refused.
func TestAmbiguousRequest(t *testing.T) {
	env := environment()
	x := exchange(t.Context(), "")
	x.Request.URL.RawQuery = "a=1&a=2"
	if _, err := build(t, env, Config{Max: 1, By: "request.query.a"}).Handle(x); code(err) != airside.Invalid {
		t.Errorf("got %v, want %s", err, airside.Invalid)
	}
	check(t, env, "request.query.a")
}

// A queue is served in the order in which it formed; who waits too long, or goes
// away, leaves it.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment()
		h := build(t, env, Config{Max: 1, Queue: 4, Wait: 10 * time.Second})
		first := exchange(t.Context(), "")
		if _, err := h.Handle(first); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var wg sync.WaitGroup
		type event struct {
			Name string
			At   time.Duration
			Code airside.Code
		}
		var mu sync.Mutex
		var got []event
		come := func(name string, ctx context.Context) {
			wg.Go(func() {
				x := exchange(ctx, "")
				defer finish(x)
				_, err := h.Handle(x)
				mu.Lock()
				got = append(got, event{name, time.Since(start), code(err)})
				mu.Unlock()
				if err == nil {
					<-time.After(2 * time.Second)
				}
			})
			synctest.Wait()
		}
		leaver, leave := context.WithCancel(t.Context())
		gone, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, airside.Errorf(airside.Timeout, "too long"))
		defer cancel()
		come("a", t.Context())
		come("leaver", leaver)
		come("b", t.Context())
		come("late", gone)
		come("too many", t.Context())
		<-time.After(time.Second)
		leave()
		synctest.Wait()
		come("c", t.Context())
		<-time.After(4 * time.Second)
		finish(first) // at 5 s: a until 7 s, b until 9 s, c until 11 s
		synctest.Wait()
		come("d", t.Context()) // from 11 s
		come("e", t.Context()) // from 13 s
		<-time.After(time.Second)
		come("f", t.Context()) // at 6 s: b, c, d and e fill the queue
		<-time.After(9500 * time.Millisecond)
		come("g", t.Context())
		wg.Wait()
		want := []event{
			{"too many", 0, airside.Unavailable},
			{"leaver", time.Second, airside.Canceled},
			{"late", 2 * time.Second, airside.Timeout},
			{"a", 5 * time.Second, ""},
			{"f", 6 * time.Second, airside.Unavailable},
			{"b", 7 * time.Second, ""},
			{"c", 9 * time.Second, ""},
			{"d", 11 * time.Second, ""},
			{"e", 13 * time.Second, ""},
			{"g", 15500 * time.Millisecond, ""},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		check(t, env, "")
	})
}

func TestWaitTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment()
		h := build(t, env, Config{Max: 1, Queue: 1, Wait: 3 * time.Second})
		first := exchange(t.Context(), "")
		if _, err := h.Handle(first); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err := h.Handle(exchange(t.Context(), ""))
		e := airside.AsError(err)
		if got := time.Since(start); e.Code != airside.Unavailable || got != 3*time.Second || e.RetryAfter != 3*time.Second {
			t.Errorf("%v after %v, to be tried again after %v; want unavailable after 3s, and 3s", err, got, e.RetryAfter)
		}
		finish(first)
		check(t, env, "")
	})
}

// New numbers hold for the exchanges that are there; an old generation does not
// bring its own back, and one that is never used changes nothing.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment()
		two := build(t, env, Config{Max: 2, Queue: 2, Wait: time.Minute})
		var in []*airside.Exchange
		enter := func(h airside.Handler) error {
			x := exchange(t.Context(), "")
			_, err := h.Handle(x)
			if err == nil {
				in = append(in, x)
			}
			return err
		}
		for range 2 {
			if err := enter(two); err != nil {
				t.Fatal(err)
			}
		}
		one := build(t, env, Config{Max: 1})
		if err := enter(one); code(err) != airside.Unavailable {
			t.Fatalf("two are in, one is allowed: %v", err)
		}
		finish(in[0])
		if err := enter(one); code(err) != airside.Unavailable {
			t.Fatalf("one is in, one is allowed: %v", err)
		}
		if err := enter(two); code(err) != airside.Unavailable {
			t.Fatalf("the old numbers came back: %v", err)
		}
		queued := build(t, env, Config{Max: 1, Queue: 1, Wait: time.Minute})
		served := make(chan error)
		x := exchange(t.Context(), "")
		go func() {
			_, err := queued.Handle(x)
			served <- err
		}()
		synctest.Wait()
		three := build(t, env, Config{Max: 3})
		synctest.Wait()
		select {
		case <-served:
			t.Fatal("a generation that is not used yet has an effect")
		default:
		}
		if err := enter(three); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatalf("the queue was not served when the number was raised: %v", err)
		}
		for _, x := range append(in, x) {
			finish(x)
		}
		check(t, env, "")
	})
}

// Whatever clients do, no more than max run at once, and no place is lost.
func TestStress(t *testing.T) {
	const most, clients, rounds = 4, 32, 300
	env := environment()
	var running atomic.Int64
	h := build(t, env, Config{Max: most, Queue: clients, Wait: time.Millisecond, By: "caller.id"})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel()
				}
				x := exchange(ctx, "alice")
				_, err := h.Handle(x)
				if err == nil {
					if n := running.Add(1); n > most {
						t.Errorf("%d run at once, want at most %d", n, most)
					}
					if rand.IntN(4) == 0 {
						<-time.After(time.Duration(rand.IntN(1000)) * time.Microsecond)
					}
					running.Add(-1)
				}
				finish(x)
				cancel()
			}
		})
	}
	wg.Wait()
	check(t, env, "caller.id")
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"no max", Config{Wait: 1}, "max: is needed, from 1 to 1000000, unless adaptive is written"},
		{"negative queue", Config{Max: 1, Queue: -1, Wait: 1}, "queue: must be from 0 to 1000000"},
		{"no wait", Config{Max: 1}, "wait: must be more than 0 and at most 1h"},
		{"long wait", Config{Max: 1, Wait: 2 * time.Hour}, "wait: must be more than 0 and at most 1h"},
		{"the largest", Config{Max: maxCount, Queue: maxCount, Wait: maxWait}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	_, err := New(environment(), Config{Max: 1, By: "nobody"})
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Field != "by" {
		t.Errorf("bad expression: %v, want an error of the field by", err)
	}
}
