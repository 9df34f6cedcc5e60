package route

import (
	"fmt"
	"strings"

	"github.com/airside-gateway/airside"
)

// nearMisses bounds the routes of other hosts that [Table.Explain] lists.
const nearMisses = 20

// A Step is a route that was considered for a request.
type Step struct {
	Entry   *Entry
	Matched bool
	Why     string // in words; of the winner, why it comes before those that were not considered
}

// Explain says how [Table.Match] comes to its result: the routes whose host and
// path fit, in the order in which they are asked, each with the reason why it
// does not match, up to the one that wins. If none does, up to 20 routes follow,
// in the order written, whose path fits but not their host. It sets no path
// values.
//
// The words are for the operator: they quote the request and the errors of
// conditions.
func (t *Table) Explain(x *airside.Exchange) []Step {
	var steps []Step
	m := matcher{x: x, path: x.Request.URL.Path, trace: &steps}
	t.run(&m)
	if m.won != nil || m.err != nil {
		return steps
	}
	host := withoutPort(x.Request.Host)
	misses := 0
	for _, r := range t.rules {
		if misses < nearMisses && !r.fitsHost(host) && r.fitsPath(x) {
			misses++
			steps = append(steps, Step{Entry: r.entry, Why: fmt.Sprintf("the host is %q, not %s", host, strings.Join(r.entry.Match.Hosts, " or "))})
		}
	}
	return steps
}

// note adds a step for r, which was just asked.
func (m *matcher) note(r *rule) {
	*m.trace = append(*m.trace, Step{Entry: r.entry, Matched: m.won == r, Why: m.why(r)})
}

// why says in words how r was decided.
func (m *matcher) why(r *rule) string {
	req := m.x.Request
	switch {
	case m.won == r:
		return "host, path and all conditions fit: it is the most specific that does"
	case m.err != nil:
		return airside.AsError(m.err).Message
	case !r.hasMethod(req.Method):
		return fmt.Sprintf("the method is %s, not %s", req.Method, strings.Join(r.methods, " or "))
	}
	for i := range r.headers {
		if c := &r.headers[i]; !m.header(c) {
			return c.why("header", lookUpHeader(req.Header, *c))
		}
	}
	for i := range r.query {
		if c := &r.query[i]; !m.parameter(c) {
			return c.why("query parameter", lookUpQuery(req.URL.RawQuery, *c))
		}
	}
	if _, err := r.entry.Match.When(m.x); err != nil {
		return fmt.Sprintf("its when fails, which counts as false: %v", err)
	}
	return "its when is false"
}

// why says in words why a condition does not hold.
func (c *cond) why(kind string, f found) string {
	if f.what == absent {
		return fmt.Sprintf("the %s %s is missing", kind, c.name)
	}
	return fmt.Sprintf("the %s %s is %q, not %q", kind, c.name, clip(f.value), c.value)
}

// fitsHost reports whether one of the hosts fits, or there are none. They were
// understood when the table was made.
func (r *rule) fitsHost(host string) bool {
	for _, pattern := range r.entry.Match.Hosts {
		name, wild, _ := parseHost(pattern)
		if host == name && !wild || wild && strings.HasSuffix(host, "."+name) {
			return true
		}
	}
	return len(r.entry.Match.Hosts) == 0
}

// fitsPath reports whether the path alone fits.
func (r *rule) fitsPath(x *airside.Exchange) bool {
	alone := tree{}
	l := alone.place(&r.pattern)
	l.rules = []*rule{{entry: &Entry{}}}
	m := matcher{x: x, path: x.Request.URL.Path}
	return strings.HasPrefix(m.path, "/") && m.search(&alone)
}
