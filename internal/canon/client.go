package canon

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is the address a request came from. peer is the far end of the
// connection; trust lists who may say that it acts for another.
//
// If the peer is not trusted, it is the client. Otherwise the elements of
// X-Forwarded-For are read from the right, where the nearest proxy writes, and
// the first that is not trusted is the client; if all are trusted, the leftmost
// is. So nothing that a client writes itself is ever reached. An element may
// carry a port. Empty elements are passed over (RFC 9110 section 5.6.1.2).
//
// An element that is no address is refused where it would decide: all to the
// right of it is trusted, so a trusted proxy did not know its client, and to take
// the proxy's own address instead would give a stranger the rights of the
// inside. Forwarded (RFC 7239) is not read: a proxy that writes only one of the
// two passes the other on from the client.
//
// IPv4-mapped IPv6 addresses are taken for the IPv4 address. An invalid peer, as
// of a Unix socket, is never trusted.
func Client(peer netip.Addr, h http.Header, trust []netip.Prefix) (netip.Addr, error) {
	addr := peer.Unmap().WithZone("")
	if !trusted(addr, trust) {
		return addr, nil
	}
	lines := h["X-Forwarded-For"]
	for _, line := range slices.Backward(lines) {
		for rest, more := line, true; more; {
			var element string
			rest, element, more = cutLast(rest)
			if element == "" {
				continue
			}
			a, err := address(element)
			if err != nil {
				return netip.Addr{}, refuse("X-Forwarded-For has %q, which is no IP address", clip(element))
			}
			addr = a
			if !trusted(addr, trust) {
				return addr, nil
			}
		}
	}
	return addr, nil
}

// cutLast takes the last element off a comma-separated list.
func cutLast(list string) (rest, element string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.Trim(list[i+1:], " \t"), i >= 0
}

// address reads an IP address, which may have a port.
func address(s string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(ap.Addr())
	}
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, err
	}
	return plainAddr(a)
}

// plainAddr refuses a zone, which means nothing on another machine.
func plainAddr(a netip.Addr) (netip.Addr, error) {
	if a.Zone() != "" {
		return netip.Addr{}, refuse("the address has a zone")
	}
	return a.Unmap(), nil
}

func trusted(a netip.Addr, trust []netip.Prefix) bool {
	for _, p := range trust {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
