package concurrency

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// An agent does so many things at a time, and each takes so long. What comes beyond
// waits within it.
type agent struct {
	slots chan struct{}
	mu    sync.Mutex
	takes func() time.Duration
}

func (a *agent) Handle(x *airside.Exchange) (*http.Response, error) {
	select {
	case a.slots <- struct{}{}:
	case <-x.Context().Done():
		return nil, x.Context().Err()
	}
	a.mu.Lock()
	d := a.takes()
	a.mu.Unlock()
	<-time.After(d)
	<-a.slots
	return fine(x)
}

func (a *agent) slower(takes func() time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takes = takes
}

// A run is what came of an open-loop load.
type run struct {
	mu      sync.Mutex
	served  []time.Duration
	refused int
	slowest time.Duration // refusal
}

// load asks h every gap for as long as span, whatever becomes of it.
func load(t *testing.T, h airside.Handler, gap, span time.Duration) *run {
	r := &run{}
	var wg sync.WaitGroup
	for range int(span / gap) {
		wg.Go(func() {
			x := exchange(t.Context(), "")
			defer finish(x)
			began := time.Now()
			_, err := h.Handle(x)
			took := time.Since(began)
			r.mu.Lock()
			defer r.mu.Unlock()
			if err == nil {
				r.served = append(r.served, took)
				return
			}
			r.refused++
			r.slowest = max(r.slowest, took)
			if airside.AsError(err).RetryAfter < time.Second {
				t.Errorf("refused without Retry-After: %v", err)
			}
		})
		<-time.After(gap)
	}
	wg.Wait()
	slices.Sort(r.served)
	return r
}

func (r *run) p99() time.Duration { return r.served[len(r.served)*99/100] }

// TestAdaptiveFindsTheLimit proves that under three times what an agent can do the limit
// settles near that, whatever it begins with: at least nine tenths of the most are
// served, the 99th percentile is at most three times that of an agent with nothing to
// do, and the limit follows an agent that becomes slower, or faster.
func TestAdaptiveFindsTheLimit(t *testing.T) {
	const slots, takes = 10, 50 * time.Millisecond
	steady := func() time.Duration { return takes }
	random := rand.New(rand.NewPCG(1, 2))
	uneven := func() time.Duration { return takes/2 + time.Duration(random.Int64N(int64(takes))) }
	for _, tt := range []struct {
		name  string
		start int
		takes func() time.Duration
	}{
		{"too low", 2, steady}, {"too high", 200, steady}, {"uneven", 20, uneven},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env := environment()
				a := &agent{slots: make(chan struct{}, slots), takes: tt.takes}
				m, err := New(env, Config{Adaptive: &Adaptive{Min: 2, Start: tt.start, Tolerance: usualTolerance}, Queue: 5, Wait: 20 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				h := m(a)
				d, err := airside.Keep(env, "concurrency:policies.gpu:", newDesk)
				if err != nil {
					t.Fatal(err)
				}
				gap := takes / slots / 3
				settle := func(what string, times time.Duration) {
					load(t, h, gap*times, 40*time.Second)
					r := load(t, h, gap*times, 20*time.Second)
					peak := 20 * time.Second * slots / (takes * times)
					t.Logf("%s: limit %.1f, %d of %d at most served, p99 %v, %d refused within %v", what, d.gradient.limit, len(r.served), peak, r.p99(), r.refused, r.slowest)
					if 10*len(r.served) < 9*int(peak) {
						t.Errorf("%s: %d were served, want nine tenths of %d", what, len(r.served), peak)
					}
					unloaded := takes * times
					if tt.name == "uneven" {
						unloaded = unloaded * 3 / 2
					}
					if r.p99() > 3*unloaded {
						t.Errorf("%s: p99 is %v, want at most three times %v", what, r.p99(), unloaded)
					}
				}
				settle("at first", 1)
				a.slower(func() time.Duration { return 4 * tt.takes() })
				settle("slower", 4)
				a.slower(tt.takes)
				settle("fast again", 1)
			})
		})
	}
}

// TestAdaptiveShrinksOnRefusals proves that an agent that says that it has too much to
// do gets less, and that its other failures tell nothing.
func TestAdaptiveShrinksOnRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func() (*http.Response, error)
		shrink bool
	}{
		{"503", func() (*http.Response, error) { return &http.Response{StatusCode: 503}, nil }, true},
		{"429", func() (*http.Response, error) { return &http.Response{StatusCode: 429}, nil }, true},
		{"timeout", func() (*http.Response, error) { return nil, airside.Errorf(airside.Timeout, "") }, true},
		{"500", func() (*http.Response, error) { return &http.Response{StatusCode: 500}, nil }, false},
		{"broken", func() (*http.Response, error) { return nil, airside.Errorf(airside.UpstreamFailed, "") }, false},
		{"left", func() (*http.Response, error) { return nil, context.Canceled }, false},
		{"404", func() (*http.Response, error) { return &http.Response{StatusCode: 404}, nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env := environment()
				m, err := New(env, Config{Adaptive: &Adaptive{Min: 2, Tolerance: 2}, Wait: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				h := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
					<-time.After(10 * time.Millisecond)
					return tt.answer()
				}))
				for range 200 {
					x := exchange(t.Context(), "")
					_, _ = h.Handle(x)
					finish(x)
				}
				d, err := airside.Keep(env, "concurrency:policies.gpu:", newDesk)
				if err != nil {
					t.Fatal(err)
				}
				if got := d.gradient.limit; (got < usualStart) != tt.shrink {
					t.Errorf("the limit is %v, began with %v", got, usualStart)
				}
			})
		})
	}
}

// TestPriority proves the order of classes: the highest first, who was passed over
// eight times nevertheless, and that the newest of the lowest class makes room.
func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment()
		h := build(t, env, Config{Max: 1, Queue: 12, Wait: time.Hour, Order: oldest, Priority: "caller.id.split('-')[0]"})
		first := exchange(t.Context(), "high-0")
		if _, err := h.Handle(first); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		come := func(names ...string) {
			for _, name := range names {
				wg.Go(func() {
					x := exchange(t.Context(), name)
					defer finish(x)
					_, err := h.Handle(x)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						name = "refused " + name
					}
					got = append(got, name)
				})
				synctest.Wait()
			}
		}
		come("low-1", "low-2", "normal-1", "2-a", "high-2", "high-3", "high-4", "high-5", "high-6", "high-7", "high-8", "high-9")
		come("low-3")    // nobody below
		come("normal-2") // in place of low-2
		come("what-ever")
		finish(first)
		wg.Wait()
		want := []string{
			"refused low-3", "refused low-2", "refused low-1",
			"2-a", "high-2", "high-3", "high-4", "high-5", "high-6", "high-7", "high-8", "normal-1", "high-9", "normal-2", "what-ever",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		check(t, env, "")
	})
}

// TestPatience proves that turns are counted of those who wait only: who comes after
// somebody has left begins anew.
func TestPatience(t *testing.T) {
	d, _ := newDesk()
	by := rules{order: 1, max: 1, queue: 20}
	var holder *airside.Exchange
	come := func(c class) *waiter {
		w, _ := d.ask(exchange(t.Context(), ""), "", c, by)
		return w
	}
	turn := func(w *waiter) bool { // gives the place away; reports whether w got it
		d.leave(holder)
		if w.place == nil {
			holder = w.x
		}
		return w.place == nil
	}
	holder = exchange(t.Context(), "")
	d.ask(holder, "", normal, by)
	gone := come(low)
	for range patience - 1 {
		if !turn(come(high)) {
			t.Fatal("low came first")
		}
	}
	if !d.giveUp(gone) {
		t.Fatal("it was called")
	}
	late := come(low)
	for n := range patience {
		if !turn(come(high)) {
			t.Fatalf("who has just come was passed over %d times only", n)
		}
	}
	if come(high); !turn(late) {
		t.Error("who was passed over often enough is passed over again")
	}
}

// TestNewestFirst proves that order: newest turns the queue around.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := environment()
		h := build(t, env, Config{Max: 1, Queue: 3, Wait: time.Minute, Order: newest})
		first := exchange(t.Context(), "")
		if _, err := h.Handle(first); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			wg.Go(func() {
				x := exchange(t.Context(), name)
				defer finish(x)
				if _, err := h.Handle(x); err != nil {
					t.Error(err)
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
			})
			synctest.Wait()
		}
		finish(first)
		wg.Wait()
		if diff := cmp.Diff([]string{"c", "b", "a"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		check(t, env, "")
	})
}

// TestClassNames proves what a priority may come to.
func TestClassNames(t *testing.T) {
	for text, want := range map[string]class{
		"high": high, "normal": normal, "low": low, "3": high, "0": normal, "-1": low, "": normal, "High": normal, "nobody": normal,
	} {
		if got, _ := named(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	p, err := newPriority("low", "policies.x")
	if err != nil || p.fixed != low {
		t.Errorf("a class by its name: %v, %v", p.fixed, err)
	}
	_, err = New(environment(), Config{Max: 1, Queue: 1, Priority: "somebody.id"})
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Field != "priority" {
		t.Errorf("bad expression: %v, want an error of the field priority", err)
	}
}

// TestValidateAdaptive proves what is refused.
func TestValidateAdaptive(t *testing.T) {
	good := Adaptive{Min: 2, Tolerance: 1.5}
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"no max is needed", Config{Wait: 1, Adaptive: &good}, ""},
		{"max above", Config{Wait: 1, Max: 50, Adaptive: &good}, ""},
		{"two of them", Config{Wait: 1, Max: 50, Adaptive: &Adaptive{Min: 2, Max: 60, Tolerance: 2}}, "max: stands in adaptive already"},
		{"by", Config{Wait: 1, By: "caller.id", Adaptive: &good}, "by: cannot be had with adaptive: use two policies, one for the agent and one for each caller"},
		{"no queue", Config{Wait: 1, Max: 1, Priority: "high"}, "priority: needs a queue: without one nobody waits"},
	} {
		got := ""
		if err := tt.c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a    Adaptive
		want string
	}{
		{Adaptive{Min: 0, Tolerance: 2}, "min: must be from 1 to 1000000"},
		{Adaptive{Min: 5, Max: 4, Tolerance: 2}, "max: must be from min to 1000000"},
		{Adaptive{Min: 5, Start: 4, Tolerance: 2}, "start: must be from min to max"},
		{Adaptive{Min: 5, Tolerance: 1}, "tolerance: must be from 1.1 to 10"},
		{good, ""},
	} {
		got := ""
		if err := tt.a.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.a, got, tt.want)
		}
	}
}
