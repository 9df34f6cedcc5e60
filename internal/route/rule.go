package route

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
)

// A rule is an entry made ready to match.
type rule struct {
	entry   *Entry
	index   int
	pattern pattern
	methods []string
	headers []cond // sorted by name
	query   []cond
	exact   int    // how many conditions ask for a value
	key     string // of the conditions, for finding duplicates
	places  int    // how many hosts it was put under, one if it has none
	shadows int    // under how many of these it can never match
	shadow  *rule  // the first rule because of which it cannot
}

// A cond asks for a header or a query parameter.
type cond struct {
	name  string
	value string
	any   bool // any value will do
	id    int  // of the name, for remembering what the request has
}

// compareRules orders rules of one host and path, the most specific first.
func compareRules(a, b *rule) int {
	return cmp.Or(
		yesBefore(len(a.methods) > 0, len(b.methods) > 0),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		cmp.Compare(b.exact, a.exact),
		yesBefore(a.entry.Match.When != nil, b.entry.Match.When != nil),
		cmp.Compare(a.index, b.index),
	)
}

func yesBefore(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (r *rule) hasMethod(method string) bool {
	return len(r.methods) == 0 || slices.Contains(r.methods, method)
}

// setParams sets the parameters of the path as path values.
func (r *rule) setParams(x *airside.Exchange) {
	if len(r.pattern.params) == 0 {
		return
	}
	rest, at := x.Request.URL.Path[1:], 0
	for _, p := range r.pattern.params {
		for ; at < p.segment; at++ {
			_, rest, _ = strings.Cut(rest, "/")
		}
		value, _, _ := strings.Cut(rest, "/")
		x.Request.SetPathValue(p.name, value)
	}
}

// A presence says what a request has of a header or a query parameter.
type presence uint8

const (
	absent    presence = iota
	present            // once, or more often with one value
	ambiguous          // with different values
)

// A found is a remembered presence. value is raw where it is of a query.
type found struct {
	id    int
	what  presence
	value string
}

// lookUpHeader finds header c.name, as one value.
func lookUpHeader(h http.Header, c cond) found {
	lines := h[c.name]
	if len(lines) == 0 {
		return found{id: c.id, what: absent}
	}
	for _, line := range lines[1:] {
		if line != lines[0] {
			return found{id: c.id, what: ambiguous}
		}
	}
	return found{id: c.id, what: present, value: lines[0]}
}

// lookUpQuery finds parameter c.name of a query, as one raw value.
func lookUpQuery(raw string, c cond) found {
	f := found{id: c.id, what: absent}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" || !decodesTo(name, c.name) {
			continue
		}
		if f.what == present && f.value != value && !sameDecoded(f.value, value) {
			f.what = ambiguous
			return f
		}
		f.what, f.value = present, value
	}
	return f
}

// decodesTo reports whether a raw part of a query decodes to want.
func decodesTo(raw, want string) bool {
	if len(raw) < len(want) {
		return false
	}
	for i, j := 0, 0; ; j++ {
		if i == len(raw) {
			return j == len(want)
		}
		var c byte
		if c, i = decodeByte(raw, i); j == len(want) || c != want[j] {
			return false
		}
	}
}

// sameDecoded reports whether two raw parts of a query decode to the same.
func sameDecoded(a, b string) bool {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		var c, d byte
		c, i = decodeByte(a, i)
		if d, j = decodeByte(b, j); c != d {
			return false
		}
	}
	return i == len(a) && j == len(b)
}

// decodeByte decodes the byte at raw[i] and returns the index of the next. A
// malformed escape, which package canon refuses, stands for itself.
func decodeByte(raw string, i int) (byte, int) {
	switch c := raw[i]; {
	case c == '+':
		return ' ', i + 1
	case c == '%' && i+2 < len(raw):
		hi, ok := unhex(raw[i+1])
		lo, ok2 := unhex(raw[i+2])
		if ok && ok2 {
			return hi<<4 | lo, i + 3
		}
		return c, i + 1
	default:
		return c, i + 1
	}
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// sortConds sorts conditions by name, as they are asked.
func sortConds(conds []cond) {
	slices.SortFunc(conds, func(a, b cond) int { return strings.Compare(a.name, b.name) })
}
