package balance

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// some makes members of the given weights, of which nothing is known yet.
func some(weights ...int) []Member {
	var out []Member
	for i, w := range weights {
		out = append(out, Member{Name: "http://10.0.0." + string(rune('a'+i)) + ":80", Weight: w, Stats: NewStats()})
	}
	return out
}

// TestWheel proves that the shares are exact over every turn, and as even as smooth
// weighted round robin makes them.
func TestWheel(t *testing.T) {
	turn := func(b Balancer, n int) string {
		var s strings.Builder
		for range n {
			s.WriteByte('a' + byte(b.Pick(0, Mask{})))
		}
		return s.String()
	}
	tests := []struct {
		weights []int
		want    string
	}{
		{[]int{1}, "aaaa"},
		{[]int{7}, "aaaa"},
		{[]int{1, 1, 1}, "abcabc"},
		{[]int{5, 1, 1}, "aabacaaaabacaa"}, // the example of nginx
		{[]int{10, 2, 2}, "aabacaaaabacaa"},
		{[]int{1, 3}, "babbbabb"},
	}
	for _, tt := range tests {
		if got := turn(New(Settings{}, some(tt.weights...)), len(tt.want)); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.weights, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, MaxWeight), 1, 8).Draw(t, "weights")
		b := New(Settings{By: RoundRobin}, some(weights...))
		for range rapid.IntRange(0, 1000).Draw(t, "skip") {
			b.Pick(0, Mask{})
		}
		got, total := make([]int, len(weights)), 0
		for _, n := range weights {
			total += n
		}
		if len(weights) == 1 {
			total = weights[0]
		}
		for range total {
			got[b.Pick(0, Mask{})]++
		}
		if diff := cmp.Diff(weights, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

// TestRefused proves of every balancer that it never picks one who is refused, picks
// another as long as there is one, and says so when there is none.
func TestRefused(t *testing.T) {
	for _, s := range []Settings{
		{},
		{By: Random},
		{By: LeastRequest},
		{By: PeakEWMA},
		{By: Hash, Load: 1.25},
		{By: RoundRobin, Zone: "a", Overflow: 0.7},
		{By: Hash, Zone: "a", Overflow: 0.7},
	} {
		rapid.Check(t, func(t *rapid.T) {
			members := some(rapid.SliceOfN(rapid.IntRange(1, MaxWeight), 1, 5).Draw(t, "weights")...)
			for i := range members {
				members[i].Zone = rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "zone")
			}
			b := New(s, members)
			var refused Mask
			for range members {
				i := b.Pick(rapid.Uint64().Draw(t, "key"), refused)
				if i < 0 || i >= len(members) || refused.Has(i) {
					t.Fatalf("%+v: got %d, with %b refused", s, i, refused)
				}
				refused.Add(i)
			}
			if i := b.Pick(1, refused); i != -1 {
				t.Fatalf("%+v: got %d, but all are refused", s, i)
			}
		})
	}
}

// TestRefusedShares proves that the others get the share of one who is refused in
// proportion to their own.
func TestRefusedShares(t *testing.T) {
	b := New(Settings{}, some(3, 2, 1))
	got := make([]int, 3)
	var first Mask
	first.Add(0)
	for range 3000 {
		got[b.Pick(0, first)]++
	}
	if want := []int{0, 2000, 1000}; !cmp.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
}
