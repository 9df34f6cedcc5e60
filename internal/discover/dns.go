package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxDenial is the longest time for which a name that DNS denies is not asked for again:
// an upstream that comes back is found soon, whatever the zone says.
const maxDenial = 30 * time.Second

// hostsEvery is how often names of the file of hosts are looked up again.
const hostsEvery = 5 * time.Second

// Names says how names are looked up.
type Names struct {
	Servers []string      // host:port; those of resolv.conf if there are none
	Family  string        // FamilyAuto, ...; empty is FamilyAuto
	Least   time.Duration // the shortest time between two lookups
	Most    time.Duration // the longest

	// Keep says that a denial, as by NXDOMAIN, leaves the last set in force. Otherwise it
	// is the empty set.
	Keep bool
}

// DNS returns the source of the addresses of name, each with port. They are looked up
// again when the TTL of the answer has passed, within the bounds of n.
func DNS(name string, port int, n Names) Source {
	return &dns{names: n.bounded(), resolver: systemResolver(n.Servers), name: name, port: port}
}

// Bounds of the time between two lookups, where none are given.
const (
	leastTTL = time.Second
	mostTTL  = 5 * time.Minute
)

func (n Names) bounded() Names {
	if n.Least <= 0 {
		n.Least = leastTTL
	}
	if n.Most <= 0 {
		n.Most = mostTTL
	}
	n.Most = max(n.Most, n.Least)
	return n
}

type dns struct {
	names    Names
	resolver resolver
	name     string
	port     int
}

// Run implements [Source].
func (d *dns) Run(ctx context.Context, s Sink) error {
	return d.names.follow(ctx, s, func() ([]Endpoint, time.Duration, error) {
		addrs, ttl, err := d.resolver.addresses(ctx, d.name, d.names.Family)
		if err != nil {
			return nil, 0, err
		}
		set := make([]Endpoint, 0, len(addrs))
		for _, a := range addrs {
			set = append(set, Endpoint{Host: hostPort(a, d.port), Weight: 1})
		}
		return set, ttl, nil
	})
}

// follow looks up again and again. A failure ends it; a denial does not.
func (n *Names) follow(ctx context.Context, s Sink, look func() ([]Endpoint, time.Duration, error)) error {
	denied := false
	for {
		set, ttl, err := look()
		d, gone := errors.AsType[*denial](err)
		switch {
		case gone && n.Keep:
			if !denied {
				s.Failed(err)
			}
			ttl = min(d.ttl, maxDenial)
		case gone:
			s.Set(nil)
			ttl = min(d.ttl, maxDenial)
		case err != nil:
			return ended(ctx, err)
		default:
			s.Set(set)
		}
		denied = gone
		if !wait(ctx, min(max(ttl, n.Least), n.Most)) {
			return nil
		}
	}
}

// addresses returns the addresses of name and how long they may be used: those of the
// file of hosts, or else those of DNS.
func (r *resolver) addresses(ctx context.Context, name, family string) ([]netip.Addr, time.Duration, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, time.Hour, nil
	}
	if len(r.servers) == 0 {
		addrs, err := hostsAddrs(r.hosts, name)
		if err != nil {
			return nil, 0, fmt.Errorf("looking up %s: %w", name, err)
		}
		if addrs = ofFamily(addrs, family); len(addrs) > 0 {
			return addrs, hostsEvery, nil
		}
	}
	types := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	switch family {
	case FamilyIPv4:
		types = types[:1]
	case FamilyIPv6:
		types = types[1:]
	}
	a, err := r.lookup(ctx, name, family == FamilyBoth, types...)
	if err != nil {
		return nil, 0, err
	}
	return a.addrs, a.ttl, nil
}

// ofFamily returns those of addrs that family asks for.
func ofFamily(addrs []netip.Addr, family string) []netip.Addr {
	v4 := func(a netip.Addr) bool { return a.Unmap().Is4() }
	v6 := func(a netip.Addr) bool { return !v4(a) }
	switch {
	case family == FamilyBoth:
		return addrs
	case family == FamilyIPv4, family != FamilyIPv6 && slices.ContainsFunc(addrs, v4):
		return slices.DeleteFunc(slices.Clone(addrs), v6)
	case family == FamilyIPv6:
		return slices.DeleteFunc(slices.Clone(addrs), v4)
	}
	return addrs
}

// SRV returns the source of what the SRV records at name (RFC 2782) lead to: the targets
// of the lowest priority number of which any has an address.
func SRV(name string, n Names) Source {
	return &srv{names: n.bounded(), resolver: systemResolver(n.Servers), name: name}
}

type srv struct {
	names    Names
	resolver resolver
	name     string
}

// Run implements [Source].
func (s *srv) Run(ctx context.Context, sink Sink) error {
	return s.names.follow(ctx, sink, func() ([]Endpoint, time.Duration, error) { return s.look(ctx) })
}

// maxTargets bounds the targets, of all priorities together, that addresses are looked up
// for.
const maxTargets = MaxEndpoints

func (s *srv) look(ctx context.Context) ([]Endpoint, time.Duration, error) {
	a, err := s.resolver.lookup(ctx, s.name, false, dnsmessage.TypeSRV)
	if err != nil {
		return nil, 0, err
	}
	ttl := a.ttl
	for rest := a.srv[:min(len(a.srv), maxTargets)]; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(r srvRecord) bool { return r.priority != rest[0].priority })
		if n < 0 {
			n = len(rest)
		}
		var found []located
		for _, r := range rest[:n] {
			if r.port == 0 {
				continue // nothing can listen there
			}
			addrs, t, err := s.target(ctx, &a, r.target)
			if err != nil {
				return nil, 0, err
			}
			ttl = min(ttl, t)
			for _, addr := range addrs {
				found = append(found, located{hostPort(addr, int(r.port)), float64(r.weight) / float64(len(addrs))})
			}
		}
		if len(found) > 0 {
			return weighted(found), ttl, nil
		}
		rest = rest[n:]
	}
	return nil, 0, &denial{name: s.name, ttl: ttl}
}

// target returns the addresses of a target: those that came along, or else those that DNS
// tells when asked. A target that DNS denies has none.
func (s *srv) target(ctx context.Context, a *answer, name string) ([]netip.Addr, time.Duration, error) {
	if name == "." {
		return nil, s.names.Most, nil // the service is decidedly not there (RFC 2782)
	}
	var addrs []netip.Addr
	ttl := s.names.Most
	for _, g := range a.glue {
		if g.name == name {
			addrs, ttl = append(addrs, g.addr), min(ttl, g.ttl)
		}
	}
	if addrs = ofFamily(addrs, s.names.Family); len(addrs) > 0 {
		return addrs, ttl, nil
	}
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	addrs, ttl, err := s.resolver.addresses(ctx, name, s.names.Family)
	if d, gone := errors.AsType[*denial](err); gone {
		return nil, d.ttl, nil
	}
	return addrs, ttl, err
}

// located is an address of a target, with its share.
type located struct {
	host  string
	share float64
}

// weighted makes endpoints whose weights stand to each other as the shares. Weights as
// they are usual, small and whole, stay what they are.
func weighted(found []located) []Endpoint {
	most, plain := 0.0, true
	for _, f := range found {
		most = max(most, f.share)
		plain = plain && f.share == float64(int(f.share))
	}
	factor := 1.0
	if most > 0 && (!plain || most > MaxWeight) {
		factor = MaxWeight / most
	}
	out := make([]Endpoint, 0, len(found))
	for _, f := range found {
		out = append(out, Endpoint{Host: f.host, Weight: max(int(f.share*factor+0.5), 1)})
	}
	return out
}
