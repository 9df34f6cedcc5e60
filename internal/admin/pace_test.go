package admin

import (
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// TestPace proves that a second has a bound, that the next has one of its own, and that
// whoever failed is kept beyond it.
func TestPace(t *testing.T) {
	r := NewRecorder(nil)
	r.Set(true, 10)
	begin := time.Unix(1_800_000_000, 0)
	ended := func(n, status int, at time.Time) {
		for range n {
			r.Ended(&airside.Exchange{}, &airside.Outcome{Status: status}, &edge.Seen{Start: at})
		}
	}
	want := func(taken, missed uint64) {
		t.Helper()
		ring := r.live.Load().ring
		if got := ring.taken.Load(); got != taken || ring.missed.Load() != missed {
			t.Errorf("got %d kept and %d left out, want %d and %d", got, ring.missed.Load(), taken, missed)
		}
	}
	ended(mostASecond+500, 200, begin)
	want(mostASecond, 500)
	ended(3, 502, begin)
	want(mostASecond+3, 500)
	ended(2, 200, begin.Add(time.Second))
	want(mostASecond+5, 500)
	follow := r.live.Load().follow
	f, err := follow.add(filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer follow.remove(f)
	ended(mostASecond, 200, begin.Add(time.Second))
	want(2*mostASecond+5, 500)
}
