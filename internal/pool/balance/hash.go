package balance

import "math"

// hash is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam: 2016).
//
// Keys fall into slots, and every slot belongs to the member that draws the best lot for
// it (weighted rendezvous hashing; Schindelhauer, Schomaker: 2005). So when a member
// comes, slots move to it alone, and when it leaves, only its own move. The lots are drawn
// beforehand. A member that bears more than its share of what is under way passes the key
// on to the next best, always the same.
type hash struct {
	members []Member
	of      []int
	seeds   []uint64 // by member
	load    float64
	warmth  warmth
	owners  []uint8 // by slot
}

// slots is how many there are: enough for the shares of ten to be exact to one hundredth.
const slots = 1 << 16

func newHash(s Settings, members []Member, of []int) *hash {
	h := &hash{members: members, of: of, load: s.Load, warmth: warmth{s.SlowStart}, seeds: make([]uint64, len(members)), owners: make([]uint8, slots)}
	for _, i := range of {
		h.seeds[i] = Key(members[i].Name)
	}
	for slot := range h.owners {
		h.owners[slot] = uint8(h.best(uint64(slot), func(int) bool { return true })) //nolint:gosec // less than MaxMembers
	}
	return h
}

// best is the member with the best lot for a slot, of those that ok agrees to; -1 if there
// is none.
func (h *hash) best(slot uint64, ok func(i int) bool) int {
	best, least := -1, math.Inf(1)
	base := mix(slot + 1)
	for _, i := range h.of {
		lot := float64(mix(base^h.seeds[i])>>11+1) / (1 << 53) // in (0, 1]
		weight := float64(h.members[i].Weight)
		if 1-lot >= least*weight || !ok(i) { // 1-lot is at most -log(lot), which costs more
			continue
		}
		if l := -math.Log(lot) / weight; l < least {
			best, least = i, l
		}
	}
	return best
}

// Pick implements [Balancer].
func (h *hash) Pick(key uint64, refused Mask) int {
	mixed := mix(key)
	slot := mixed % slots
	unit := float64(mixed>>16) / (1 << 48) // of the bits that slot does not use
	limit := h.limit(&refused)
	fits := func(i int) bool {
		s := h.members[i].Stats
		return !refused.Has(i) && float64(s.Active()+1) <= math.Ceil(limit*float64(h.members[i].Weight)) && unit < h.warmth.of(&h.members[i])
	}
	if i := int(h.owners[slot]); fits(i) {
		return i
	}
	if i := h.best(slot, fits); i >= 0 {
		return i
	}
	return h.best(slot, func(i int) bool { return !refused.Has(i) })
}

// limit is how many may be under way at a member, for each unit of its weight, with the one
// that is about to begin.
func (h *hash) limit(refused *Mask) float64 {
	if h.load <= 0 {
		return math.Inf(1)
	}
	active, weight := 1, 0
	for _, i := range h.of {
		if !refused.Has(i) {
			active += h.members[i].Stats.Active()
			weight += h.members[i].Weight
		}
	}
	return h.load * float64(active) / float64(max(weight, 1))
}

// Key is the key of a text: FNV-1a. It is the same everywhere, so that several gateways
// choose alike.
func Key(text string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	k := uint64(offset)
	for i := range len(text) {
		k = (k ^ uint64(text[i])) * prime
	}
	return k
}

// mix spreads what is in a few bits over all of them (the finalizer of MurmurHash3).
func mix(k uint64) uint64 {
	k = (k ^ k>>33) * 0xff51afd7ed558ccd
	k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
