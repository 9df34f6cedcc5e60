package clock

import (
	"net/http"
	"testing"
	"time"
)

// The clock stands between ticks, never says 0 once it is set, and has the date of its
// second.
func TestClock(t *testing.T) {
	var c Clock
	if c.Now() != 0 || c.Date() != "" {
		t.Errorf("before it is set it says %d, %q", c.Now(), c.Date())
	}
	begin := time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC)
	c.Set(begin)
	if c.Now() != 1 {
		t.Errorf("at the beginning it says %d, want 1", c.Now())
	}
	c.Set(begin.Add(1500 * time.Millisecond))
	if got, want := c.Now(), int64(1500*time.Millisecond); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	if got, want := c.Date(), begin.Add(time.Second).Format(http.TimeFormat); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.After(time.Second, 100*time.Millisecond), int64(2600*time.Millisecond); got != want {
		t.Errorf("a second ahead is %d, want %d", got, want)
	}
	if got := c.After(0, time.Second); got != 0 {
		t.Errorf("never is %d, want 0", got)
	}
}

// A tick is a twentieth of the shortest limit, within its bounds.
func TestTick(t *testing.T) {
	for _, c := range []struct {
		limits []time.Duration
		want   time.Duration
	}{
		{nil, maxTick},
		{[]time.Duration{0, time.Hour}, maxTick},
		{[]time.Duration{time.Hour, time.Second, 0}, 50 * time.Millisecond},
		{[]time.Duration{time.Millisecond}, minTick},
	} {
		if got := Tick(c.limits...); got != c.want {
			t.Errorf("%v: got %s, want %s", c.limits, got, c.want)
		}
	}
}
