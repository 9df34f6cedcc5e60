package balance

import "time"

// A pair draws two members by weight, one of which is chosen: the power of two choices
// (Mitzenmacher, 2001). Comparing two is nearly as good as comparing all, and costs the
// same however many there are.
type pair struct {
	turn
	warmth warmth
	less   []float64 // by member: how much less than the average it is worth
}

func newPair(s Settings, members []Member, of []int) pair {
	p := pair{turn: newTurn(members, of), warmth: warmth{s.SlowStart}, less: make([]float64, len(members))}
	total := 0
	for _, i := range of {
		total += members[i].Weight
	}
	for _, i := range of {
		p.less[i] = float64(total) / float64(len(of)*members[i].Weight)
	}
	return p
}

// draw draws two that are not refused. The first is drawn by what it is worth: where there
// is nothing to choose between the two, it is taken. The second is -1 if there is no other;
// both are, if there is none.
func (p *pair) draw(refused *Mask) (i, j int) {
	if i = p.one(refused); i < 0 {
		return -1, -1
	}
	others := *refused
	others.Add(i)
	return i, p.one(&others)
}

func (p *pair) one(refused *Mask) int {
	if len(p.of) == 2 && (refused.Has(p.of[0]) || refused.Has(p.of[1])) {
		return p.left(0, refused) // there is one left at most
	}
	place := uint64(0)
	for range spins {
		place = p.place()
		if i := p.at(place); !refused.Has(i) && p.warmth.takes(&p.members[i]) {
			return i
		}
	}
	return p.left(place, refused)
}

// load is what n tries at a member come to, compared with others.
func (p *pair) load(i int, n float64) float64 {
	return n * p.less[i] / p.warmth.of(&p.members[i])
}

// least is the way LeastRequest.
type least struct{ pair }

// One who takes more than three times as long to answer as the other is slow: it counts
// every try as three, and one more. Otherwise the fast ones, who are done with theirs
// sooner, would hold the same number, and the slow one a tenth of what they get, and more.
const (
	slower   = 3
	handicap = 3
)

// Pick implements [Balancer].
func (l *least) Pick(_ uint64, refused Mask) int {
	i, j := l.draw(&refused)
	if j < 0 {
		return i
	}
	a, b := l.members[i].Stats, l.members[j].Stats
	n, m := float64(a.Active()), float64(b.Active())
	if ma, mb := a.mean.Load(), b.mean.Load(); ma > slower*mb || mb > slower*ma {
		now := time.Now()
		ta, tb := a.usual(now), b.usual(now)
		switch {
		case tb > 0 && ta > slower*tb:
			n, m = handicap*(n+1), m+1
		case ta > 0 && tb > slower*ta:
			n, m = n+1, handicap*(m+1)
		}
	}
	if l.load(j, m) < l.load(i, n) {
		return j
	}
	return i
}

// peak is the way PeakEWMA.
type peak struct{ pair }

// alike is how much the estimates of two may differ without saying anything: answers take
// now a little more and now a little less.
const alike = 1.3

// Pick implements [Balancer].
func (p *peak) Pick(_ uint64, refused Mask) int {
	i, j := p.draw(&refused)
	if j < 0 {
		return i
	}
	now := time.Now()
	a, n := p.estimate(i, now)
	b, m := p.estimate(j, now)
	n, m = p.load(i, n), p.load(j, m)
	if a > alike*b || b > alike*a {
		n, m = a*(1+n), b*(1+m)
	}
	if m < n {
		return j
	}
	return i
}

// estimate is what a try at a member is likely to cost, and how many are under way there.
// One of which nothing is known gets one try, and then is taken for a slow one until it
// has answered.
func (p *peak) estimate(i int, now time.Time) (cost, active float64) {
	s := p.members[i].Stats
	active = float64(s.Active())
	if cost = s.cost(s.tickAt(now)); cost == 0 && active > 0 {
		cost = float64(failing)
	}
	return cost, active
}
