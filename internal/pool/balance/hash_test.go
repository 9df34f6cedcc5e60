package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func ten() []Member { return some(1, 1, 1, 1, 1, 1, 1, 1, 1, 1) }

// TestMoves proves that at most 11 % of the keys move when one of ten endpoints goes, that
// only its own do, and that they come back with it, in whatever order endpoints are listed.
func TestMoves(t *testing.T) {
	const keys = 100_000
	all := ten()
	whole := New(Settings{By: Hash}, all)
	for gone := range all {
		rest := slices.Delete(slices.Clone(all), gone, gone+1)
		slices.Reverse(rest)
		fewer := New(Settings{By: Hash}, rest)
		moved := 0
		for k := range keys {
			key := Key(fmt.Sprint("conversation-", k))
			before, after := all[whole.Pick(key, Mask{})].Name, rest[fewer.Pick(key, Mask{})].Name
			if before == after {
				continue
			}
			moved++
			if before != all[gone].Name {
				t.Fatalf("key %d moved from %s to %s, but %s has gone", k, before, after, all[gone].Name)
			}
		}
		if share := float64(moved) / keys; share > 0.11 || share < 0.09 {
			t.Errorf("without endpoint %d %.2f %% of the keys moved, want 9 to 11 %%", gone, 100*share)
		}
	}
}

// TestRefusedMoves proves that a key whose endpoint is refused goes where it would go if
// the endpoint were not there.
func TestRefusedMoves(t *testing.T) {
	all := ten()
	b, fewer := New(Settings{By: Hash}, all), New(Settings{By: Hash}, all[1:])
	var first Mask
	first.Add(0)
	for range 1000 {
		key := rand.Uint64()
		if got, want := all[b.Pick(key, first)].Name, all[1:][fewer.Pick(key, Mask{})].Name; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// TestLoadBound proves that no endpoint holds more than 1.25 times the average, by weight,
// though all exchanges have the same key, and that it is the key's own one that is full.
func TestLoadBound(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 3, 2, 1}} {
		members := some(weights...)
		b := New(Settings{By: Hash, Load: 1.25}, members)
		total := 0
		for _, w := range weights {
			total += w
		}
		key := Key("one")
		home := New(Settings{By: Hash}, members).Pick(key, Mask{})
		for n := 1; n <= 1000; n++ {
			i := b.Pick(key, Mask{})
			members[i].Stats.Enter(0)
			for j, m := range members {
				limit := int(math.Ceil(1.25 * float64(n*weights[j]) / float64(total)))
				if got := m.Stats.Active(); j == i && got > limit {
					t.Fatalf("%v: with %d under way endpoint %d has %d, want at most %d", weights, n, j, got, limit)
				}
			}
		}
		if got, want := members[home].Stats.Active(), int(1.25*1000*float64(weights[home])/float64(total)); got < want {
			t.Errorf("%v: the endpoint of the key has %d, want %d: its full load", weights, got, want)
		}
	}
}

// TestAffinity proves that a key stays where it is while nothing is overloaded.
func TestAffinity(t *testing.T) {
	b := New(Settings{By: Hash, Load: 1.25}, ten())
	for range 100 {
		key := rand.Uint64()
		first := b.Pick(key, Mask{})
		for range 10 {
			if got := b.Pick(key, Mask{}); got != first {
				t.Fatalf("got %d after %d", got, first)
			}
		}
	}
}

// TestKey pins the key of a text down: other gateways must choose alike (FNV-1a).
func TestKey(t *testing.T) {
	for text, want := range map[string]uint64{"": 0xcbf29ce484222325, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8} {
		if got := Key(text); got != want {
			t.Errorf("%q: got %x, want %x", text, got, want)
		}
	}
}
