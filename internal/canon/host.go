package canon

import (
	"net/netip"
	"strconv"
	"strings"
)

// The longest host name and label, RFC 1035 section 2.3.4, without the length
// bytes and the root.
const (
	maxHost  = 253
	maxLabel = 63
)

// Host makes the authority of a request (the Host header, or :authority)
// canonical: a host name or IP address, and the port if one was sent.
//
// Names are lower-cased and lose the dot that stands for the root. They consist
// of labels of 1 to 63 ASCII letters, digits, hyphens and underscores, 253 bytes
// in all. An IPv4 address must be written as four decimal numbers; the other
// spellings that resolvers take (0x7f.1, 127.1) are refused. An IPv6 address
// stands in brackets, without a zone, and is written as RFC 5952 says. A port is
// 1 to 65535 without leading zeros, and is kept as it is, default or not.
// Everything else is refused: user information, spaces, "#", "/", "%", a comma,
// an empty host, an empty port.
//
// It does not allocate for a host that is canonical already.
func Host(h string) (string, error) {
	if h == "" {
		return "", refuse("the host is missing")
	}
	if h[0] == '[' {
		return bracketed(h)
	}
	name, port := h, ""
	if i := strings.IndexByte(h, ':'); i >= 0 {
		name, port = h[:i], h[i:]
	}
	if err := checkPort(h, port); err != nil {
		return "", err
	}
	name, err := hostName(name)
	if err != nil {
		return "", err
	}
	if len(name)+len(port) == len(h) && name == h[:len(name)] {
		return h, nil
	}
	return name + port, nil
}

// bracketed is Host for an IPv6 address.
func bracketed(h string) (string, error) {
	literal, port, ok := strings.Cut(h[1:], "]")
	if !ok {
		return "", refuse("the host %q has a bracket that is not closed", clip(h))
	}
	if err := checkPort(h, port); err != nil {
		return "", err
	}
	addr, err := netip.ParseAddr(literal)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", refuse("the host %q has no IPv6 address in its brackets", clip(h))
	}
	var b [64]byte
	canonical := append(addr.AppendTo(append(b[:0], '[')), ']')
	if string(canonical) == h[:len(h)-len(port)] {
		return h, nil
	}
	return string(canonical) + port, nil
}

// checkPort checks a port with its colon; none is good.
func checkPort(h, port string) error {
	if port == "" {
		return nil
	}
	digits := port[1:]
	n, err := strconv.ParseUint(digits, 10, 16)
	if port[0] != ':' || err != nil || n == 0 || digits[0] == '0' {
		return refuse("the host %q has no port from 1 to 65535 after its colon", clip(h))
	}
	return nil
}

// hostName checks and lower-cases a host name or an IPv4 address.
func hostName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxHost {
		return "", refuse("the host name must have 1 to %d characters", maxHost)
	}
	upper, start := false, 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if i == start || i-start > maxLabel {
				return "", refuse("the host %q has a label that is not 1 to %d characters long", clip(name), maxLabel)
			}
			start = i + 1
			continue
		}
		c := name[i]
		if !alphanumeric(c) && c != '-' && c != '_' {
			return "", refuse("the host %q has a character at byte %d that no host name has", clip(name), i)
		}
		upper = upper || 'A' <= c && c <= 'Z'
	}
	if upper {
		name = strings.ToLower(name)
	}
	if !numeric(name[strings.LastIndexByte(name, '.')+1:]) {
		return name, nil
	}
	if addr, err := netip.ParseAddr(name); err != nil || !addr.Is4() {
		return "", refuse("the host %q ends in a number, but is no IPv4 address of four decimal numbers", clip(name))
	}
	return name, nil
}

// numeric reports whether a resolver takes a last label for part of an IPv4
// address: digits, or hexadecimal digits after 0x.
func numeric(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		if c := digits[i]; (c < '0' || c > '9') && (!hex || !hexDigit(c)) {
			return false
		}
	}
	return true
}
