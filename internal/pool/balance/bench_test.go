package balance

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPick measures a choice among few and many.
func BenchmarkPick(b *testing.B) {
	for _, s := range []Settings{
		{By: RoundRobin},
		{By: Random},
		{By: LeastRequest},
		{By: PeakEWMA},
		{By: Hash, Load: 1.25},
		{By: RoundRobin, SlowStart: time.Minute},
		{By: RoundRobin, Zone: "a", Overflow: 0.7},
	} {
		for _, n := range []int{1, 3, 10, 100} {
			b.Run(fmt.Sprintf("%s,slow=%t,zone=%t/%d", s.By, s.SlowStart > 0, s.Zone != "", n), func(b *testing.B) {
				var members []Member
				for i := range n {
					m := Member{Name: fmt.Sprint("http://10.0.0.", i), Zone: string(rune('a' + i%2)), Weight: 1, Stats: NewStats()}
					m.Stats.Answered(time.Since(m.Stats.Origin()), time.Millisecond)
					members = append(members, m)
				}
				balancer := New(s, members)
				b.ReportAllocs()
				for key := uint64(0); b.Loop(); key++ {
					balancer.Pick(key, Mask{})
				}
			})
		}
	}
}

// BenchmarkNewHash measures what a change of the members costs at most.
func BenchmarkNewHash(b *testing.B) {
	for _, n := range []int{10, MaxMembers} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var members []Member
			for i := range n {
				members = append(members, Member{Name: fmt.Sprint("http://10.0.0.", i), Weight: 1 + i%3, Stats: NewStats()})
			}
			for b.Loop() {
				New(Settings{By: Hash}, members)
			}
		})
	}
}

// TestPickAllocates proves that no choice allocates.
func TestPickAllocates(t *testing.T) {
	for _, by := range []string{RoundRobin, Random, LeastRequest, PeakEWMA, Hash} {
		for _, zone := range []string{"", "a"} {
			members := some(1, 2, 3)
			members[0].Zone = "a"
			b := New(Settings{By: by, Zone: zone, Overflow: 0.7, Load: 1.25, SlowStart: time.Second}, members)
			if got := testing.AllocsPerRun(100, func() { b.Pick(7, Mask{}) }); got != 0 {
				t.Errorf("%s, zone %q: got %.0f allocations", by, zone, got)
			}
		}
	}
}

// BenchmarkStats measures what an exchange adds to what is known.
func BenchmarkStats(b *testing.B) {
	s := NewStats()
	b.ReportAllocs()
	for at := time.Duration(0); b.Loop(); at += 15 * time.Microsecond {
		s.Enter(0)
		s.Answered(at, time.Millisecond)
		s.Leave()
	}
}
