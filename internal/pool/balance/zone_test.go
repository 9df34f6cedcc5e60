package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestZones proves that the gateway's own zone gets everything while enough of its
// endpoints are usable, its part of it below that, and nothing when none is.
func TestZones(t *testing.T) {
	const asked = 40_000
	tests := []struct {
		usable int // of 4 endpoints of the zone
		far    bool
		want   float64 // the share that stays
	}{
		{4, true, 1},
		{3, true, 1},
		{2, true, 0.5 / 0.7},
		{1, true, 0.25 / 0.7},
		{0, true, 0},
		{1, false, 1}, // nobody could help
	}
	for _, by := range []string{RoundRobin, Random, LeastRequest, PeakEWMA, Hash} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(by, tt), func(t *testing.T) {
				members := some(1, 1, 1, 1, 1, 1)
				for i := range members {
					usable := tt.far
					if members[i].Zone = "b"; i < 4 {
						usable, members[i].Zone = i < tt.usable, "a"
					}
					members[i].Usable = func() bool { return usable }
				}
				b := New(Settings{By: by, Zone: "a", Overflow: 0.7}, members)
				stayed, counts := 0, make([]int, len(members))
				for range asked {
					key, refused := rand.Uint64(), Mask{}
					i := b.Pick(key, refused)
					for !members[i].Usable() {
						refused.Add(i)
						i = b.Pick(key, refused)
					}
					if counts[i]++; i < 4 {
						stayed++
					}
				}
				if got := float64(stayed) / asked; math.Abs(got-tt.want) > 0.02 {
					t.Errorf("%.3f stayed, want %.3f: %v", got, tt.want, counts)
				}
			})
		}
	}
}

// TestNoZone proves that zones do not matter where nobody stands in the gateway's own, or
// it has none.
func TestNoZone(t *testing.T) {
	for _, zone := range []string{"", "c"} {
		members := some(1, 1)
		members[0].Zone, members[1].Zone = "a", "b"
		b := New(Settings{Zone: zone, Overflow: 0.7}, members)
		if got := [3]int{b.Pick(0, Mask{}), b.Pick(0, Mask{}), b.Pick(0, Mask{})}; got != [3]int{0, 1, 0} {
			t.Errorf("zone %q: got %v, want them in turn", zone, got)
		}
	}
}
