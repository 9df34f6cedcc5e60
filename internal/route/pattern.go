package route

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/airside-gateway/airside/internal/canon"
	"github.com/airside-gateway/airside/proto/web"
)

// maxSegments bounds the patterns that are compared segment by segment, which
// are all but exact paths.
const maxSegments = 32

// A pattern is a path pattern, taken apart.
type pattern struct {
	segments []string // of an exact path, nil
	params   []param
	prefix   bool
	shape    string // the pattern with nameless parameters
}

// A param is a parameter of a path.
type param struct {
	name    string
	segment int // counted from 0
}

// parsePath reads a path pattern. Its errors do not repeat it.
func parsePath(path string) (pattern, error) {
	if path == "" {
		path = "/*"
	}
	if path[0] != '/' {
		return pattern{}, fmt.Errorf("must begin with a slash")
	}
	if i := strings.IndexAny(path, "%?#"); i >= 0 {
		return pattern{}, fmt.Errorf("%q has no place here: write the path decoded, without query and fragment", path[i])
	}
	stem, prefix := strings.CutSuffix(path, "/*")
	if strings.Contains(stem, "*") {
		return pattern{}, fmt.Errorf("* may only stand at the end, after a slash")
	}
	p := pattern{prefix: prefix, shape: path}
	if err := p.literal(stem); err != nil {
		return pattern{}, err
	}
	if !strings.ContainsAny(stem, "{}") && !prefix {
		return p, nil
	}
	if stem != "" {
		p.segments = strings.Split(stem[1:], "/")
	}
	if len(p.segments) > maxSegments {
		return pattern{}, fmt.Errorf("has more than %d segments", maxSegments)
	}
	if err := p.parameters(); err != nil {
		return pattern{}, err
	}
	if len(p.params) > 0 {
		p.shape = "/" + strings.Join(p.segments, "/")
		if prefix {
			p.shape += "/*"
		}
	}
	return p, nil
}

// literal checks that a request can have the path stem. Braces, which it can
// only have encoded, do no harm in this.
func (p *pattern) literal(stem string) error {
	if stem == "" {
		return nil
	}
	if p.prefix && strings.HasSuffix(stem, "/") {
		return fmt.Errorf("no request has an empty segment (//)")
	}
	if _, _, err := canon.Path((&url.URL{Path: stem}).EscapedPath()); err != nil {
		return fmt.Errorf("no request can have it: %w", err)
	}
	return nil
}

// aParam stands for a parameter in the segments of a pattern. No literal segment
// has braces.
const aParam = "{}"

// parameters finds the parameters among the segments.
func (p *pattern) parameters() error {
	for i, seg := range p.segments {
		if !strings.ContainsAny(seg, "{}") {
			continue
		}
		name, ok := strings.CutPrefix(seg, "{")
		name, ok2 := strings.CutSuffix(name, "}")
		if !ok || !ok2 || strings.ContainsAny(name, "{}") {
			return fmt.Errorf("segment %q: a parameter is a whole segment in braces, such as {id}", seg)
		}
		if !identifier(name) {
			return fmt.Errorf("segment %q: the name of a parameter is letters, digits and underscores, and does not begin with a digit", seg)
		}
		for _, other := range p.params {
			if other.name == name {
				return fmt.Errorf("has two parameters called %s", name)
			}
		}
		p.params = append(p.params, param{name: name, segment: i})
		p.segments[i] = aParam
	}
	return nil
}

func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// parseHost reads a host pattern: a name or address, and whether all names below
// it are meant. Its errors do not repeat it.
func parseHost(host string) (name string, wild bool, err error) {
	switch {
	case host == "":
		return "", false, fmt.Errorf("is empty; leave it out to match every host")
	case host == "*":
		return "", false, fmt.Errorf("leave it out to match every host")
	case strings.Contains(host, "://"):
		return "", false, fmt.Errorf("has a scheme; write the name alone")
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	name, wild = strings.CutPrefix(host, "*.")
	if strings.Contains(name, "*") {
		return "", false, fmt.Errorf("* may only stand for the leftmost label, as in *.example.com")
	}
	if strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return "", false, fmt.Errorf("write international names in ASCII, as in xn--bcher-kva.example")
	}
	if name, err = canon.Host(name); err != nil {
		return "", false, fmt.Errorf("no request can have it: %w", err)
	}
	if withoutPort(name) != name {
		return "", false, fmt.Errorf("has a port; routes match the host on every port")
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); wild && err == nil {
		return "", false, fmt.Errorf("there is nothing below an IP address")
	}
	return name, wild, nil
}

// checkMethod refuses what is no method. Its errors do not repeat it.
func checkMethod(method string) error {
	if method == "" {
		return fmt.Errorf("is empty; leave it out to match every method")
	}
	if upper := strings.ToUpper(method); upper != method {
		return fmt.Errorf("methods are written in upper case: %s", clip(upper))
	}
	if !web.Token(method) {
		return fmt.Errorf("no request can have it")
	}
	return nil
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "..."
}
