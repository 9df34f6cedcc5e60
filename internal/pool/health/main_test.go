package health

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings change defaults.
func ejecting(change ...func(*Eject)) *Eject {
	e := &Eject{}
	e.Defaults()
	for _, f := range change {
		f(e)
	}
	return e
}

func breaking(change ...func(*Breaker)) *Breaker {
	b := &Breaker{}
	b.Defaults()
	for _, f := range change {
		f(b)
	}
	return b
}

// grouped returns a group that is closed with the test, and hosts of it.
func grouped(t *testing.T, s Settings, n int) (*Group, []*Host) {
	t.Helper()
	g := New(s)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	var hosts []*Host
	for i := range n {
		hosts = append(hosts, g.Use("http://"+string(rune('a'+i))+":1"))
	}
	return g, hosts
}

// once makes an exchange that ends so, and reports whether the host let it through.
func once(h *Host, r Result) bool {
	t, ok := h.Begin()
	if ok {
		h.Done(t, r)
	}
	return ok
}

var (
	ok       = Result{Kind: OK}
	refused  = Result{Kind: Connect, Why: "the agent refused the connection"}
	silent   = Result{Kind: Timeout, Why: "the agent did not answer"}
	broken   = Result{Kind: Reset, Why: "the answer broke off"}
	nothing  = Result{}
	answered = func(status int) Result { return Result{Kind: Answered, Status: status} }
)

func fail(h *Host, n int) {
	for range n {
		once(h, refused)
	}
}

// want checks the state of a host, and that its gate says the same.
func want(t *testing.T, h *Host, state, why string) {
	t.Helper()
	s := h.Status()
	if s.State != state || !strings.Contains(s.Why, why) || (s.Why == "") != (why == "") {
		t.Errorf("got %s (%s), want %s (%s)", s.State, s.Why, state, why)
	}
}

func wantUsable(t *testing.T, h *Host, usable bool) {
	t.Helper()
	if got := h.Usable(); got != usable {
		t.Errorf("%s: usable is %v (%+v), want %v", h.Address(), got, h.Status(), usable)
	}
}

// sleep lets time pass, of a bubble, and what is due then happen.
func sleep(d time.Duration) {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	<-done
}

// A record is a log that can be waited for.
type record struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newRecord() (*record, *slog.Logger) {
	r := &record{more: make(chan struct{}, 1)}
	return r, slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(string(b)))
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// await waits until a line holds all parts.
func (r *record) await(ctx context.Context, t *testing.T, parts ...string) {
	t.Helper()
	for {
		for _, l := range r.all() {
			if holds(l, parts) {
				return
			}
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			t.Fatalf("no line of the log holds %q: %q", parts, r.all())
		}
	}
}

func holds(l string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(l, p) {
			return false
		}
	}
	return true
}
