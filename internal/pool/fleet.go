package pool

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/balance"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// Bounds of what a [Pool] spreads over.
const (
	MaxMembers = balance.MaxMembers // endpoints of one pool
	MaxWeight  = balance.MaxWeight  // weight of one endpoint
)

// A Member is an endpoint of a pool.
type Member struct {
	Endpoint *Endpoint
	Path     string // escaped; goes before the path of every request. "" and "/" add nothing
	Weight   int    // its share; 1 to MaxWeight
	Zone     string // where it stands; may be empty
}

// A fleet is the members of a pool for as long as they stay the same ones. It does not
// change: what is learned about a member is with its endpoint.
type fleet struct {
	members  []*member
	balancer balance.Balancer // nil if there is nobody
}

type member struct {
	*Endpoint
	path, escaped string // of the base, without a slash at the end
	weight        int
	zone          string
	wellness      *health.Host // nil: nobody looks after it
}

var errMembers = errors.New("pool: there must be at most 256 members, with weights of 1 to 256")

func newMember(m Member) (*member, error) {
	if m.Weight < 1 || m.Weight > MaxWeight {
		return nil, errMembers
	}
	escaped := strings.TrimRight(m.Path, "/")
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, fmt.Errorf("pool: path of an endpoint: %w", err)
	}
	escaped = (&url.URL{Path: path, RawPath: escaped}).EscapedPath() // in case it was not, wholly
	return &member{Endpoint: m.Endpoint, path: path, escaped: escaped, weight: m.Weight, zone: m.Zone}, nil
}

// Set changes the members of p, of which there may be none for a while: then exchanges
// get 503. Those that p has already go on as they are, if their Endpoint is the same;
// newcomers warm up, if the balance says so.
//
// Who leaves ends what it has begun. An endpoint that has left all its pools is closed by
// itself as soon as nothing is under way there, and is not to be used again: one that
// comes back is opened anew. Set fails, and changes nothing, if the members are out of
// bounds. It may be called while p is in use.
func (p *Pool) Set(members []Member) error {
	if len(members) > MaxMembers {
		return errMembers
	}
	f := &fleet{}
	for _, m := range members {
		made, err := newMember(m)
		if err != nil {
			return err
		}
		f.members = append(f.members, made)
	}
	p.set(f)
	return nil
}

// set makes f the fleet of p.
func (p *Pool) set(f *fleet) {
	p.setting.Lock()
	defer p.setting.Unlock()
	f.balancer = p.balancer(f)
	old := p.fleet.Load()
	warm(f, p.balance.SlowStart > 0)
	for _, m := range f.members {
		m.enlist()
	}
	p.bind(f, old)
	p.fleet.Store(f)
	if old == nil {
		return
	}
	for _, m := range old.members {
		m.delist()
		if !f.has(m.Endpoint) && !slices.Contains(p.left, m.Endpoint) {
			p.left = append(p.left, m.Endpoint)
		}
	}
	p.left = slices.DeleteFunc(p.left, func(e *Endpoint) bool {
		return e.pools.Load() > 0 || e.stats.Retired() && e.idle() // it is with another pool, or it is over
	})
}

// Close lets all members leave, and waits for what their connections still send of
// exchanges that are over. Only a pool whose members nobody else closes is closed.
func (p *Pool) Close() error {
	p.set(&fleet{})
	p.setting.Lock()
	left := slices.Clone(p.left)
	p.setting.Unlock()
	var all sync.WaitGroup
	for _, e := range left {
		if e.stats.Retired() {
			all.Go(e.wait) // a few seconds for all together
		}
	}
	all.Wait()
	return nil
}

func (f *fleet) has(e *Endpoint) bool {
	return slices.ContainsFunc(f.members, func(m *member) bool { return m.Endpoint == e })
}

// warm begins the slow start of those who are new among others. If all are, nobody is.
func warm(f *fleet, slowly bool) {
	known := func(m *member) bool { return m.pools.Load() > 0 }
	if !slowly || !slices.ContainsFunc(f.members, known) {
		return
	}
	for _, m := range f.members {
		if !known(m) {
			m.stats.Warm()
		}
	}
}

// balancer makes what chooses among the members of f.
func (p *Pool) balancer(f *fleet) balance.Balancer {
	if len(f.members) == 0 {
		return nil
	}
	members := make([]balance.Member, 0, len(f.members))
	for _, m := range f.members {
		members = append(members, balance.Member{
			Name: m.address + m.escaped, Zone: m.zone, Weight: m.weight, Stats: m.stats,
			Usable: func() bool { return p.usable(m) },
		})
	}
	return balance.New(p.balance, members)
}

// usable reports whether m is well enough to be asked.
func (p *Pool) usable(m *member) bool { return m.wellness == nil || m.wellness.Usable() }

// choose takes a place at an endpoint: one that was not asked for this exchange already, or
// else any that is usable and has room.
func (p *Pool) choose(x *airside.Exchange) (*member, error) {
	key := uint64(0)
	if p.key != nil {
		key = p.key(x)
	}
	tried, only := triedOf(x.Context())
	f := p.fleet.Load()
	m := p.take(f, key, tried, only)
	for m == nil {
		g := p.fleet.Load()
		switch {
		case g == f && only: // nobody was turned away
			return nil, (&failure{kind: full}).phrase()
		case g == f:
			return nil, p.none(f)
		}
		f = g // it has changed meanwhile
		m = p.take(f, key, tried, only)
	}
	if tried != nil {
		tried.add(m.Endpoint)
	}
	x.Endpoint = m.address
	return m, nil
}

// none says why there is no member to be asked.
func (p *Pool) none(f *fleet) error {
	if len(f.members) == 0 {
		return (&failure{kind: deserted}).phrase()
	}
	if p.shut(f) {
		e := (&failure{kind: ailing}).phrase()
		e.RetryAfter = p.health.RetryAfter()
		return e
	}
	if p.queue == nil { // else it may wait
		p.overflows.Add(1)
	}
	return (&failure{kind: full}).phrase()
}

// take takes a place at a member of f; nil if there is none. With only it is one that was
// not tried.
func (p *Pool) take(f *fleet, key uint64, tried *tried, only bool) *member {
	if len(f.members) == 1 && !only { // nothing to choose
		if m := f.members[0]; p.admits(m) {
			return m
		}
		return nil
	}
	if len(f.members) == 0 {
		return nil
	}
	var skip balance.Mask
	if tried.any() {
		for i, m := range f.members {
			if tried.has(m.Endpoint) {
				skip.Add(i)
			}
		}
		if m := p.pick(f, key, skip); m != nil || only {
			return m
		}
	}
	return p.pick(f, key, balance.Mask{})
}

// pick takes a place at a member that is not to be skipped; nil if there is none.
func (p *Pool) pick(f *fleet, key uint64, skip balance.Mask) *member {
	for {
		i := f.balancer.Pick(key, skip)
		if i < 0 {
			return nil
		}
		if m := f.members[i]; p.admits(m) {
			return m
		}
		skip.Add(i)
	}
}

// admits takes a place at m, if it is usable and has room.
func (p *Pool) admits(m *member) bool { return p.usable(m) && m.acquire() }
