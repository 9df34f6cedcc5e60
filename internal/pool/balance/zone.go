package balance

import (
	"math"
	"slices"
	"sync/atomic"
)

// zones prefers the members of a zone. They get everything, as long as enough of them are
// usable; below that the others get what is missing, so that those who are left do not
// break down under the load of all.
type zones struct {
	members   []Member
	near, far []int
	mine      Mask // near, as a set
	others    Mask
	here      Balancer
	there     Balancer
	enough    float64
	sticky    bool // the key decides who is sent away
	total     int  // weight of near
	n         atomic.Uint64
	stays     atomic.Uint64 // the share that stays, as a float; of the last look
}

// look is how many members are looked at for one pick, on average.
const look = 8

func newZones(s Settings, members []Member, near, far []int) *zones {
	z := &zones{
		members: members, near: near, far: far, enough: s.Overflow, sticky: s.By == Hash,
		here: plain(s, members, near), there: plain(s, members, far),
	}
	for _, i := range near {
		z.total += members[i].Weight
		z.mine.Add(i)
	}
	for _, i := range far {
		z.others.Add(i)
	}
	return z
}

// Pick implements [Balancer].
func (z *zones) Pick(key uint64, refused Mask) int {
	first, second := z.here, z.there
	if z.away(key, &refused) {
		first, second = second, first
	}
	if i := first.Pick(key, refused); i >= 0 {
		return i
	}
	return second.Pick(key, refused)
}

// away reports whether an exchange is one for the other zones. It stays with where it was
// before if somebody there did not take it.
func (z *zones) away(key uint64, refused *Mask) bool {
	if refused.meets(&z.mine) || refused.meets(&z.others) {
		return !refused.meets(&z.mine)
	}
	n := z.n.Add(1) - 1
	if n%uint64(1+(len(z.near)+len(z.far))/look) == 0 {
		z.stays.Store(math.Float64bits(z.share()))
	}
	stays := math.Float64frombits(z.stays.Load())
	return stays < 1 && z.unit(n, key) >= stays
}

// unit is where in [0, 1) an exchange stands. Multiples of the golden ratio fall evenly
// into it (Weyl's sequence).
func (z *zones) unit(n, key uint64) float64 {
	const golden = 0x9E3779B97F4A7C15
	at := n * golden
	if z.sticky {
		at = mix(key ^ golden)
	}
	return float64(at>>11) / (1 << 53)
}

// share is the share of the exchanges that stays in the zone.
func (z *zones) share() float64 {
	usable := 0
	for _, i := range z.near {
		if z.usable(i) {
			usable += z.members[i].Weight
		}
	}
	is := float64(usable) / float64(z.total)
	if is >= z.enough && usable > 0 {
		return 1
	}
	if !slices.ContainsFunc(z.far, z.usable) {
		return 1 // nobody could help out
	}
	return is / max(z.enough, math.SmallestNonzeroFloat64)
}

func (z *zones) usable(i int) bool { return z.members[i].Usable == nil || z.members[i].Usable() }
