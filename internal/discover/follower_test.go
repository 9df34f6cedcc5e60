package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sourceFunc is a source by a function.
type sourceFunc func(ctx context.Context, s Sink) error

func (f sourceFunc) Run(ctx context.Context, s Sink) error { return f(ctx, s) }

func hosts(names ...string) []Endpoint {
	var out []Endpoint
	for _, n := range names {
		out = append(out, Endpoint{Host: n, Weight: 1})
	}
	return out
}

// TestFollower proves that subscribers hear of the set at once and of every change once,
// and that the log has one line for each.
func TestFollower(t *testing.T) {
	sets := make(chan []Endpoint)
	l := &logged{}
	f := Follow(sourceFunc(func(ctx context.Context, s Sink) error {
		for {
			select {
			case set := <-sets:
				s.Set(set)
			case <-ctx.Done():
				return nil
			}
		}
	}), slog.New(slog.NewTextHandler(l, nil)))
	f.Start()
	f.Start()
	heard := make(chan []string, 10)
	stop := f.Subscribe(func(set []Endpoint) { heard <- shown(set) })
	next := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, <-heard); diff != "" {
			t.Error(diff)
		}
	}
	sets <- hosts("b", "a", "b")
	next("a", "b")
	<-f.Known()
	sets <- hosts("a", "b")
	sets <- hosts("b", "c")
	next("b", "c")
	late := make(chan []string, 10)
	defer f.Subscribe(func(set []Endpoint) { late <- shown(set) })()
	if got := <-late; !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("who came late heard %v", got)
	}
	stop()
	sets <- []Endpoint{{Host: "b", Weight: 2}, {Host: "c", Weight: 1}}
	if got := <-late; !slices.Equal(got, []string{"b *2", "c"}) {
		t.Errorf("got %v", got)
	}
	if len(heard) > 0 {
		t.Errorf("who had stopped heard %v", <-heard)
	}
	sets <- nil // and this one is taken when the one before is done with
	sets <- nil
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	f.Start() // nothing begins after the end
	for _, line := range []string{
		`msg="endpoints changed" added=2 removed=0 changed=0 endpoints=2`, `added=1 removed=1 changed=0 endpoints=2`,
		`added=0 removed=0 changed=1 endpoints=2`, `added=0 removed=2 changed=0 endpoints=0`,
	} {
		if l.count(line) != 1 {
			t.Errorf("%q is not in the log once:\n%s", line, l.b.String())
		}
	}
	if s := f.Status(); s.Changes != 4 || s.Endpoints != 0 || !s.Known || s.Changed.IsZero() || f.Begun().IsZero() {
		t.Errorf("got %+v", s)
	}
}

// TestBounds proves that a set has at most 256 endpoints, always the same ones.
func TestBounds(t *testing.T) {
	var set []Endpoint
	for i := range 300 {
		set = append(set, Endpoint{Host: fmt.Sprintf("10.0.0.%03d:80", 299-i), Weight: 1000})
	}
	got, beyond := ordered(set)
	if len(got) != MaxEndpoints || beyond != 44 || got[0].Host != "10.0.0.000:80" || got[0].Weight != MaxWeight {
		t.Errorf("got %d of them and %d beyond, the first %+v", len(got), beyond, got[0])
	}
}

// TestBackOff proves how often a source that gives up is run again, that what it had found
// stays, and that this is logged once.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &logged{}
		begin := time.Now()
		var at []time.Duration
		f := Follow(sourceFunc(func(_ context.Context, s Sink) error {
			at = append(at, time.Since(begin))
			if len(at) == 1 || time.Since(begin) > time.Minute { // well at first, and again
				s.Set(hosts("a"))
			}
			return errors.New("broken off")
		}), slog.New(slog.NewTextHandler(l, nil)))
		f.Start()
		<-time.After(2 * time.Minute)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for i := 1; i < len(at); i++ {
			if pause := at[i] - at[i-1]; pause > lastPause || pause < firstPause*4/5 {
				t.Fatalf("the pause before run %d was %s", i, pause)
			}
		}
		if pause := at[4] - at[3]; pause < 4*firstPause {
			t.Errorf("pauses do not grow: %s", pause)
		}
		if last := at[len(at)-1] - at[len(at)-2]; last > 200*time.Millisecond {
			t.Errorf("the pause after a success was %s", last)
		}
		if got := f.Status(); got.Endpoints != 1 || got.Changes != 1 || got.Failures != uint64(len(at)) || got.Err == nil {
			t.Errorf("got %+v after %d runs", got, len(at))
		}
		if l.count("discovery is well again") < 1 || l.count("endpoints changed") != 1 {
			t.Errorf("the log:\n%s", l.b.String()[:1000])
		}
	})
}

// TestLoggedOnce proves that a source that goes on failing is in the log once.
func TestLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &logged{}
		f := Follow(sourceFunc(func(context.Context, Sink) error { return errors.New("broken off") }), slog.New(slog.NewTextHandler(l, nil)))
		f.Start()
		<-time.After(time.Hour)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if n := l.count("discovery fails"); n != 1 {
			t.Errorf("it is in the log %d times", n)
		}
		if n := f.Status().Failures; n < 700 {
			t.Errorf("only %d failures were counted in an hour", n)
		}
	})
}
