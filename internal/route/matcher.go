package route

import (
	"strings"

	"github.com/airside-gateway/airside"
)

// A mode says what a matcher looks for.
type mode uint8

const (
	first        mode = iota // the rule that wins
	otherMethods             // rules that fit but for the method
)

// remembered is how many headers and parameters a matcher remembers, so that
// many rules that ask for the same do not search for it each. A power of two.
const remembered = 8

// A matcher is one look-up. It lives on the stack.
type matcher struct {
	x           *airside.Exchange
	path        string
	mode        mode
	won         *rule
	otherMethod bool // a rule was passed over for its method
	err         error
	allow       *[]string // collects methods, if not nil
	trace       *[]Step   // collects what was asked, if not nil
	memory      [remembered]found

	segments int                  // of the path; maxSegments+1 stands for more; 0: not counted yet
	ends     [maxSegments + 1]int // where each of these ends
	widest   int                  // of the tree being searched
}

// prefixes holds the first node with a prefix at each depth.
type prefixes struct {
	at   [maxSegments + 1]*node
	more uint64 // bit i: there are others at depth i
}

// search asks the rules of a tree that fit the path, the most specific first. It
// reports whether the look-up is over.
func (m *matcher) search(t *tree) bool {
	if len(m.path) <= t.longest {
		if l := t.exact[m.path]; l != nil && m.ask(l) {
			return true
		}
	}
	if t.root.empty() {
		return false
	}
	m.split()
	m.widest = t.widest
	var p prefixes
	if m.walk(&t.root, 0, &p) {
		return true
	}
	for d := t.depth; d >= 0; d-- {
		switch {
		case p.at[d] == nil:
		case p.more&(1<<d) != 0:
			if m.level(&t.root, 0, d) {
				return true
			}
		case m.ask(p.at[d].prefix):
			return true
		}
	}
	return false
}

// split finds the segments of the path, as many as a pattern can have and one.
func (m *matcher) split() {
	if m.segments > 0 {
		return
	}
	for end := 0; end < len(m.path) && m.segments < len(m.ends); m.segments++ {
		start := end + 1
		end = len(m.path)
		if i := strings.IndexByte(m.path[start:], '/'); i >= 0 {
			end = start + i
		}
		m.ends[m.segments] = end
	}
}

// segment is the segment of the path that follows depth others.
func (m *matcher) segment(depth int) string {
	start := 1
	if depth > 0 {
		start = m.ends[depth-1] + 1
	}
	return m.path[start:m.ends[depth]]
}

// walk asks the rules at and below n, which depth segments have led to, that
// match the path to its end, literals before parameters. It notes the prefixes
// that it passes.
func (m *matcher) walk(n *node, depth int, p *prefixes) bool {
	if n.prefix != nil {
		if p.at[depth] == nil {
			p.at[depth] = n
		} else {
			p.more |= 1 << depth
		}
	}
	if depth == m.segments {
		return n.whole != nil && m.ask(n.whole)
	}
	if n.children == nil && n.param == nil {
		return false
	}
	seg := m.segment(depth)
	if c := m.child(n, seg); c != nil && m.walk(c, depth+1, p) {
		return true
	}
	return n.param != nil && seg != "" && m.walk(n.param, depth+1, p)
}

// level asks the prefixes at and below n that have the given depth.
func (m *matcher) level(n *node, depth, want int) bool {
	if depth == want {
		return n.prefix != nil && m.ask(n.prefix)
	}
	if depth == m.segments || n.children == nil && n.param == nil {
		return false
	}
	seg := m.segment(depth)
	if c := m.child(n, seg); c != nil && m.level(c, depth+1, want) {
		return true
	}
	return n.param != nil && seg != "" && m.level(n.param, depth+1, want)
}

// child is the child of n for a literal segment. It does not hash a segment
// longer than any literal.
func (m *matcher) child(n *node, seg string) *node {
	if len(seg) > m.widest {
		return nil
	}
	return n.children[seg]
}

// ask asks the rules of a leaf. It reports whether the look-up is over.
func (m *matcher) ask(l *leaf) bool {
	for _, r := range l.rules {
		if m.fits(r) {
			m.won = r
		}
		if m.trace != nil {
			m.note(r)
		}
		if m.err != nil || m.won != nil && m.allow == nil {
			return true
		}
	}
	return false
}

// fits reports whether the conditions of r hold, besides host and path.
func (m *matcher) fits(r *rule) bool {
	right := r.hasMethod(m.x.Request.Method)
	if m.mode == first && !right {
		m.otherMethod = true
		return false
	}
	if m.mode == otherMethods && right || !m.holds(r) {
		return false
	}
	if m.allow != nil {
		*m.allow = append(*m.allow, r.methods...)
	}
	return true
}

// holds reports whether the conditions on headers, query and the rest hold.
func (m *matcher) holds(r *rule) bool {
	for i := range r.headers {
		if !m.header(&r.headers[i]) {
			return false
		}
	}
	for i := range r.query {
		if !m.parameter(&r.query[i]) {
			return false
		}
	}
	if r.entry.Match.When == nil {
		return true
	}
	ok, err := r.entry.Match.When(m.x)
	return ok && err == nil
}

func (m *matcher) header(c *cond) bool {
	f := &m.memory[c.id%remembered]
	if f.id != c.id {
		*f = lookUpHeader(m.x.Request.Header, *c)
	}
	return m.value(f, c, "header") && (c.any || f.value == c.value)
}

func (m *matcher) parameter(c *cond) bool {
	f := &m.memory[c.id%remembered]
	if f.id != c.id {
		*f = lookUpQuery(m.x.Request.URL.RawQuery, *c)
	}
	return m.value(f, c, "query parameter") && (c.any || decodesTo(f.value, c.value))
}

// value reports whether there is something to compare. Different values are the
// client's fault, unless any value will do, or only the methods are asked for.
func (m *matcher) value(f *found, c *cond, kind string) bool {
	if f.what == ambiguous && !c.any {
		if m.mode == first {
			m.err = airside.Errorf(airside.Invalid, "the %s %s was sent more than once, with different values; send it once", kind, c.name)
		}
		return false
	}
	return f.what != absent
}
