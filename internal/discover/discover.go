// Package discover finds the endpoints of an upstream while the gateway runs: by DNS
// (A, AAAA and SRV), in a watched file, in Consul's catalogue, and in the EndpointSlices
// of Kubernetes.
//
// A [Source] tells what it finds to a [Sink]. A [Follower] is the sink that lasts: it
// runs a source, keeps the last good set while the source is away, and tells every
// change to who has subscribed.
package discover

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Bounds of every source.
const (
	MaxEndpoints = 256 // of one set; what is beyond it, in the order of addresses, is left out
	MaxWeight    = 256
)

// An Endpoint is one address of an upstream. Two that are equal are the same.
type Endpoint struct {
	Scheme string // "http" or "https"; empty: that of the upstream's url, and Path is empty as well
	Host   string // with a port where it is not that of the scheme, an IPv6 address in brackets
	Path   string // escaped; goes before the path of every request
	Weight int    // 1 to MaxWeight
	Zone   string // where it stands, or whom it is meant for; empty if not known
}

// A Source finds endpoints until ctx ends, and then returns nil. It tells s the whole set
// whenever it has one, changed or not. An error says that it cannot go on; it is run
// again after a pause. It may be run again after it has returned, but not twice at once.
type Source interface {
	Run(ctx context.Context, s Sink) error
}

// A Sink takes what a source finds.
type Sink interface {
	// Set takes the whole set. The sink keeps the slice.
	Set(endpoints []Endpoint)

	// Failed takes what went wrong in a way that the source goes on from by itself. The
	// last set stays.
	Failed(err error)
}

// Families of addresses, of which a name, or a service, may have both.
const (
	FamilyAuto = "auto" // IPv4, and IPv6 where there is no IPv4
	FamilyIPv4 = "ipv4"
	FamilyIPv6 = "ipv6"
	FamilyBoth = "both"
)

// ordered brings a set into the one form that it is compared in: sorted, without what
// stands in it twice, within the bounds. It reports how many did not fit.
func ordered(set []Endpoint) (out []Endpoint, beyond int) {
	out = slices.Clone(set)
	for i := range out {
		out[i].Weight = min(max(out[i].Weight, 1), MaxWeight)
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Scheme, b.Scheme), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path),
			cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Zone, b.Zone))
	})
	out = slices.CompactFunc(out, func(a, b Endpoint) bool {
		return a.Scheme == b.Scheme && a.Host == b.Host && a.Path == b.Path
	})
	if len(out) > MaxEndpoints {
		return out[:MaxEndpoints:MaxEndpoints], len(out) - MaxEndpoints
	}
	return out, 0
}

// difference counts what is in one of two ordered sets only. One whose weight or zone is
// another is in both, and changed.
func difference(old, now []Endpoint) (added, removed, changed int) {
	type place struct{ scheme, host, path string }
	was := make(map[place]Endpoint, len(old))
	for _, e := range old {
		was[place{e.Scheme, e.Host, e.Path}] = e
	}
	for _, e := range now {
		o, ok := was[place{e.Scheme, e.Host, e.Path}]
		switch {
		case !ok:
			added++
		case o != e:
			changed++
		}
	}
	return added, len(old) - (len(now) - added), changed
}

// hostPort writes an address of the network as the host of a URL.
func hostPort(a netip.Addr, port int) string {
	return net.JoinHostPort(a.Unmap().String(), strconv.Itoa(port))
}

// usable reports whether an address that was found may be that of an agent. Those of the
// link (RFC 3927, RFC 4291 section 2.5.6) are not: clouds tell secrets there, at
// 169.254.169.254, and whoever may change a record of DNS is not to reach that. Neither is
// what stands for this machine, or for many. One of the loopback interface is: agents may
// run beside the gateway.
func usable(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) { // RFC 6052: an IPv4 address stands in its end
		b := a.As16()
		return usable(netip.AddrFrom4([4]byte(b[12:])))
	}
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a.Zone() == "" && a != broadcast
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	broadcast = netip.MustParseAddr("255.255.255.255")
)

// ended returns nil if the source was told to end, and err otherwise.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that it was cut short is what was asked for
	}
	return err
}

var errNoPort = errors.New("the port is not a number from 1 to 65535")
