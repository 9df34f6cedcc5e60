//go:build !race

package metrics

import (
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// Counting an exchange whose series is known takes no memory. (With the race detector a
// sync.Pool forgets things.)
func TestCountingTakesNoMemory(t *testing.T) {
	m := New(Settings{Trace: func(*airside.Exchange) ([16]byte, bool) { return [16]byte{1}, true }})
	m.Set(Options{Series: 10, Caller: true})
	x := &airside.Exchange{Route: "a", Upstream: "b", Caller: airside.Caller{ID: "c"}}
	o := &airside.Outcome{Status: 200, Duration: time.Millisecond, Received: 10, Sent: 1000}
	s := &edge.Seen{Method: "POST", Major: 1, Start: time.Unix(1_700_000_000, 0)}
	if got := testing.AllocsPerRun(1000, func() { m.Ended(x, o, s) }); got >= 1 {
		t.Errorf("%v allocations, want none", got)
	}
	for range 10 {
		x.Caller.ID += "x"
		m.Ended(x, o, s)
	}
	if got := testing.AllocsPerRun(1000, func() { m.Ended(x, o, s) }); got >= 1 {
		t.Errorf("beyond the bound: %v allocations, want none", got)
	}
}
