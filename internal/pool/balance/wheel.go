package balance

import (
	"math/rand/v2"
	"sync/atomic"
)

// A turn is the order of smooth weighted round robin, worked out beforehand: one whole
// turn, in which every member stands as often as its weight says and as evenly as can be.
type turn struct {
	members []Member
	of      []int    // who takes part
	order   []uint16 // members, by index
}

// newTurn makes a turn of some of the members.
func newTurn(members []Member, of []int) turn {
	common, total := 0, 0
	for _, i := range of {
		common = gcd(common, members[i].Weight)
		total += members[i].Weight
	}
	t := turn{members: members, of: of, order: make([]uint16, total/common)}
	current := make([]int, len(of))
	for k := range t.order {
		best := 0
		for j, i := range of {
			current[j] += members[i].Weight
			if current[j] > current[best] {
				best = j
			}
		}
		current[best] -= total
		t.order[k] = uint16(of[best]) //nolint:gosec // less than MaxMembers
	}
	return t
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// at is the member at a place in the order.
func (t *turn) at(place uint64) int { return int(t.order[place%uint64(len(t.order))]) }

// place is one in the order, by dice.
func (t *turn) place() uint64 { return rand.Uint64N(uint64(len(t.order))) } //nolint:gosec // nobody gains by guessing it

// left is the first member at or after a place in the order that is not refused, -1 if
// there is none.
func (t *turn) left(place uint64, refused *Mask) int {
	if !t.some(refused) {
		return -1
	}
	for k := range uint64(len(t.order)) {
		if i := t.at(place%uint64(len(t.order)) + k); !refused.Has(i) {
			return i
		}
	}
	return -1
}

// some reports whether not all are refused.
func (t *turn) some(refused *Mask) bool {
	for _, i := range t.of {
		if !refused.Has(i) {
			return true
		}
	}
	return false
}

// A wheel is smooth weighted round robin. A pick is one addition, and the shares are exact
// over every whole turn.
type wheel struct {
	turn
	warmth warmth
	n      atomic.Uint64
}

// spins is how often those that are refused, or too cold, are passed over before the next
// is looked for one by one.
const spins = 16

// Pick implements [Balancer]. One who is passed over gives its place in the order to the
// next; so the shares of the others stay in proportion.
func (w *wheel) Pick(_ uint64, refused Mask) int {
	place := uint64(0)
	for range spins {
		place = w.n.Add(1) - 1
		if i := w.at(place); !refused.Has(i) && w.warmth.takes(&w.members[i]) {
			return i
		}
	}
	return w.left(place, &refused)
}

// dice choose at random, by weight.
type dice struct {
	turn
	warmth warmth
}

// Pick implements [Balancer].
func (d *dice) Pick(_ uint64, refused Mask) int {
	place := uint64(0)
	for range spins {
		place = d.place()
		if i := d.at(place); !refused.Has(i) && d.warmth.takes(&d.members[i]) {
			return i
		}
	}
	return d.left(place, &refused)
}
