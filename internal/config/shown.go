package config

import (
	"cmp"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// leastMasked is the length of the shortest value of a reference that [Config.Masks]
// lists, in bytes: a shorter one stands in too many words that have nothing to do with
// it.
const leastMasked = 8

// shownAs is a value that came from outside the file, and how it is written there.
type shownAs struct{ value, written string }

// note remembers what a reference brought in. A default stands in the file: it comes
// from nowhere else.
func (r *references) note(inner, value string) {
	name, fallback, has := strings.Cut(inner, ":-")
	if value == "" || has && value == fallback {
		return
	}
	r.values = append(r.values, shownAs{value, "${" + name + "}"})
}

// fallback is the default of a reference, which may be a secret.
var fallback = regexp.MustCompile(`(\$\{[^}]*?):-[^}]*\}`)

// written is a scalar that holds references as the file writes it, without their
// defaults and the passwords of URLs.
func (n *node) written() string {
	return withoutPassword(fallback.ReplaceAllString(n.raw, "$1}"))
}

// Shown returns how to show a value of the file, in a log or to a client: as it is
// or, if it holds references, as they are written. So the name of a route, or of an
// upstream, tells no secret.
func (c *Config) Shown(value string) string {
	if c.doc == nil || value == "" {
		return value
	}
	c.doc.naming.Do(func() {
		c.doc.names = map[string]string{}
		c.doc.root.scalars(func(n *node) bool {
			if n.ref {
				c.doc.names[n.text] = n.written()
			}
			return true
		})
	})
	if written, ok := c.doc.names[value]; ok {
		return written
	}
	return withoutPassword(value)
}

// Masks lists what logs must not hold: the values of references, and what is made of
// them, each followed by what to write instead, as [strings.NewReplacer] takes them.
// Values of fewer than 8 bytes, and the addresses by which a machine calls itself, are
// listed in quotes only. The longest comes first.
func (c *Config) Masks() []string {
	if c.doc == nil {
		return nil
	}
	all := slices.Clone(c.doc.values)
	c.doc.root.scalars(func(n *node) bool {
		if n.ref && n.raw != "" {
			all = append(all, n.pieces()...)
		}
		return true
	})
	slices.SortStableFunc(all, func(a, b shownAs) int { return cmp.Compare(len(b.value), len(a.value)) })
	seen := map[string]bool{"": true}
	var out []string
	add := func(value, written string) {
		if !seen[value] {
			seen[value] = true
			out = append(out, value, written)
		}
	}
	for _, v := range all {
		add(strconv.Quote(v.value), strconv.Quote(v.written))
		if len(v.value) >= leastMasked && !loopback(v.value) {
			add(v.value, v.written)
		}
	}
	return out
}

// pieces are the value of a scalar that holds references, and what of it an error may
// name alone: the host of a URL, and its path. What stands in the file is no secret.
func (n *node) pieces() []shownAs {
	written := n.written()
	var all []shownAs
	if !strings.Contains(n.raw, n.text) {
		all = append(all, shownAs{n.text, written})
	}
	if !strings.Contains(n.text, "://") {
		return all
	}
	u, err := url.Parse(n.text)
	if err != nil {
		return all
	}
	for _, piece := range []string{u.Host, u.Hostname(), strings.ToLower(u.Hostname()), u.Path, u.EscapedPath()} {
		if !strings.Contains(n.raw, piece) {
			all = append(all, shownAs{piece, written})
		}
	}
	return all
}

// loopback reports whether a value is what a machine calls itself: no secret, and what
// many clients are called.
func loopback(value string) bool {
	a, err := netip.ParseAddr(value)
	return value == "localhost" || err == nil && a.IsLoopback()
}
