package cors

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An origin is the serialisation that browsers send (RFC 6454 section 6.2), taken
// apart. The zero origin is null.
type origin struct{ scheme, host, port string }

// parseOrigin reads the header Origin. What is not written as browsers write it
// (in lower case, without a path, without a default port) is no origin.
func parseOrigin(s string) (origin, bool) {
	if s == "null" {
		return origin{}, true
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !schemeName(scheme) || len(s) > maxOrigin {
		return origin{}, false
	}
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port || port == defaultPort(scheme) {
			return origin{}, false
		}
	}
	return origin{scheme, host, port}, hostName(host)
}

// maxOrigin is room for a host of 253 bytes.
const maxOrigin = 300

func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

func schemeName(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// hostName accepts names in lower case, IPv4 addresses, and IPv6 addresses in
// brackets.
func hostName(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && strings.Trim(inner, "0123456789abcdef:.") == ""
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// A pattern is an origin of the configuration.
type pattern struct {
	any     bool // *
	exact   origin
	suffix  string // of the host, with its dot: ".clinic.example"; exact.host is empty then
	anyPort bool
}

// parsePattern reads what stands for one or several origins.
func parsePattern(s string) (pattern, error) {
	if s == "*" {
		return pattern{any: true}, nil
	}
	if s == "null" {
		return pattern{}, nil
	}
	written := strings.ToLower(s)
	scheme, rest, ok := strings.Cut(written, "://")
	if !ok {
		return pattern{}, fmt.Errorf("%q is not an origin such as https://app.example: it has no scheme", s)
	}
	if strings.Contains(rest, "/") {
		return pattern{}, fmt.Errorf("%q is not an origin such as https://app.example: it has a path", s)
	}
	p := pattern{}
	if rest, p.anyPort = strings.CutSuffix(rest, ":*"); !p.anyPort && defaultPort(scheme) != "" {
		rest = strings.TrimSuffix(rest, ":"+defaultPort(scheme))
	}
	rest, wild := strings.CutPrefix(rest, "*.")
	o, ok := parseOrigin(scheme + "://" + rest)
	if !ok {
		return pattern{}, fmt.Errorf("%q is not an origin such as https://app.example, https://*.app.example or http://localhost:*", s)
	}
	p.exact = o
	if wild {
		if _, err := netip.ParseAddr(strings.Trim(o.host, "[]")); err == nil {
			return pattern{}, fmt.Errorf("%q is not an origin: an address has no names below it", s)
		}
		if !strings.Contains(o.host, ".") && o.host != "localhost" {
			return pattern{}, fmt.Errorf("%q is too wide: name at least two labels after the *", s)
		}
		p.suffix, p.exact.host = "."+o.host, ""
	}
	return p, nil
}

// matches reports whether o is meant by p.
func (p pattern) matches(o origin) bool {
	if p.any {
		return o != origin{}
	}
	host := o.host == p.exact.host
	if p.suffix != "" {
		host = len(o.host) > len(p.suffix) && strings.HasSuffix(o.host, p.suffix)
	}
	return host && o.scheme == p.exact.scheme && (p.anyPort || o.port == p.exact.port)
}
