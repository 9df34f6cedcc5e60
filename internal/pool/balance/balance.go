// Package balance chooses among the endpoints of an upstream. It knows no network: it is
// told what an endpoint is worth and how it does, and says whose turn it is.
//
// A [Balancer] is made for a set of members that does not change; who comes or goes makes
// a new one. What is learned about a member is kept in its [Stats], which outlive the
// balancer. A choice takes no lock and allocates nothing.
package balance

import (
	"math/rand/v2"
	"time"
)

// Bounds of what is chosen from.
const (
	MaxMembers = 256 // members of one balancer
	MaxWeight  = 256 // weight of one member
)

// Ways to choose, as they are written in the file.
const (
	RoundRobin   = "round_robin"   // in turn
	Random       = "random"        // by dice
	LeastRequest = "least_request" // who has the least under way, of a few
	PeakEWMA     = "peak_ewma"     // who answers soonest, of two
	Hash         = "hash"          // the same for the same key
)

// A Member is one of those that are chosen from.
type Member struct {
	Name   string      // stable, and different from that of the others: what Hash goes by
	Zone   string      // where it stands; may be empty
	Weight int         // its share: 1 to MaxWeight
	Stats  *Stats      // what is known about it
	Usable func() bool // whether it is well enough to be asked; nil means always
}

// Settings say how to choose.
type Settings struct {
	By        string        // RoundRobin, Random, LeastRequest, PeakEWMA or Hash
	SlowStart time.Duration // how long the share of a newcomer grows; 0 not at all
	Zone      string        // the zone that is preferred; empty for none
	Overflow  float64       // the usable share of the zone below which others help out: 0 to 1
	Load      float64       // of Hash: what an endpoint bears, in multiples of the average; 0 no bound
}

// A Balancer says whose turn it is. It may be used by many goroutines at once.
type Balancer interface {
	// Pick returns the index of a member that is not among refused, -1 if there is none.
	// Hash goes by key. One who does not take the member that it was given adds it to
	// refused and picks again.
	Pick(key uint64, refused Mask) int
}

// A Mask is a set of members, by index.
type Mask [MaxMembers / 64]uint64

// Add adds a member to the set.
func (m *Mask) Add(i int) { m[i/64] |= 1 << (i % 64) }

// Has reports whether a member is in the set.
func (m *Mask) Has(i int) bool { return m[i/64]&(1<<(i%64)) != 0 }

// meets reports whether the two sets have a member in common.
func (m *Mask) meets(other *Mask) bool {
	for i := range m {
		if m[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

// New returns a balancer for members, of whom there must be 1 to [MaxMembers]. By must be
// one of the ways there are.
func New(s Settings, members []Member) Balancer {
	near, far := make([]int, 0, len(members)), make([]int, 0, len(members))
	for i, m := range members {
		if s.Zone != "" && m.Zone == s.Zone {
			near = append(near, i)
		} else {
			far = append(far, i)
		}
	}
	if len(near) == 0 {
		return plain(s, members, far)
	}
	if len(far) == 0 {
		return plain(s, members, near)
	}
	return newZones(s, members, near, far)
}

// plain returns a balancer for some of the members.
func plain(s Settings, members []Member, of []int) Balancer {
	if len(of) == 1 {
		return single(of[0])
	}
	switch s.By {
	case Random:
		return &dice{newTurn(members, of), warmth{s.SlowStart}}
	case LeastRequest:
		return &least{newPair(s, members, of)}
	case PeakEWMA:
		return &peak{newPair(s, members, of)}
	case Hash:
		return newHash(s, members, of)
	}
	return &wheel{turn: newTurn(members, of), warmth: warmth{s.SlowStart}}
}

// single is the balancer of one member, which has nothing to choose.
type single int

// Pick implements [Balancer].
func (s single) Pick(_ uint64, refused Mask) int {
	if refused.Has(int(s)) {
		return -1
	}
	return int(s)
}

// coldest is where a newcomer begins: with a tenth of its share.
const coldest = 0.1

// warmth is the slow start: what a newcomer is worth.
type warmth struct{ window time.Duration }

// of is the factor of what m is worth: 0.1 when it came, and 1 when the window has passed.
func (w warmth) of(m *Member) float64 {
	if w.window <= 0 {
		return 1
	}
	return m.Stats.warmth(w.window)
}

// takes reports whether a member that was drawn by its whole share is drawn by what it is
// worth as well.
func (w warmth) takes(m *Member) bool {
	f := w.of(m)
	return f >= 1 || rand.Float64() < f //nolint:gosec // nobody gains by guessing it
}
