package pool

import "sync/atomic"

// Bounds of what a [Pool] spreads over.
const (
	MaxMembers = 256 // endpoints of one pool
	MaxWeight  = 256 // weight of one endpoint
)

// A wheel is smooth weighted round robin, worked out beforehand: the order of one
// whole turn, in which every member stands as often as its weight says and as
// evenly as can be. A pick is one addition, without a lock, and the shares are
// exact over every whole turn.
type wheel struct {
	order []uint16
	size  int // members
	n     atomic.Uint64
}

// newWheel makes a wheel for weights of 1 to [MaxWeight] each, at most
// [MaxMembers] of them.
func newWheel(weights []int) *wheel {
	common, total := 0, 0
	for _, w := range weights {
		common = gcd(common, w)
		total += w
	}
	turn := total / common
	w := &wheel{order: make([]uint16, turn), size: len(weights)}
	current := make([]int, len(weights))
	for k := range w.order {
		best := 0
		for i, weight := range weights {
			current[i] += weight
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		w.order[k] = uint16(best)
	}
	return w
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick returns the member whose turn it is, or the next in turn that ok agrees to.
// It asks ok once for each at most, and says no if it agrees to none.
func (w *wheel) pick(ok func(member int) bool) (int, bool) {
	at := (w.n.Add(1) - 1) % uint64(len(w.order))
	var asked [MaxMembers / 64]uint64
	left := w.size
	for k := range w.order {
		i := int(w.order[(int(at)+k)%len(w.order)]) //nolint:gosec // less than the length
		if asked[i/64]&(1<<(i%64)) != 0 {
			continue
		}
		if ok(i) {
			return i, true
		}
		asked[i/64] |= 1 << (i % 64)
		if left--; left == 0 {
			break
		}
	}
	return 0, false
}
