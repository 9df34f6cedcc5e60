package route

// maxShapes bounds the arrangements of parameters and literals under one host:
// the different ways, over all patterns, in which the first n segments are each
// a literal or a parameter. A request follows each of them at most once, so this
// bounds the time of a look-up.
const maxShapes = 1024

// A tree holds the rules of one host.
type tree struct {
	exact   map[string]*leaf // paths without parameters, whole
	longest int              // length of the longest of these
	root    node             // all others
	depth   int              // of the deepest node that has a prefix
	widest  int              // length of the longest literal segment
	shapes  map[shape]struct{}
	full    bool // the bound on shapes was reached, and told
}

// A shape is an arrangement of the first depth segments of a pattern.
type shape struct {
	depth  int
	params uint32 // bit i: segment i is a parameter
}

// A node is a path of segments. Its rules match it to its end, or it and
// everything below.
type node struct {
	children map[string]*node
	param    *node
	whole    *leaf
	prefix   *leaf
}

func (n *node) empty() bool { return n.children == nil && n.param == nil && n.prefix == nil }

// A leaf holds rules of one host and path, the most specific first.
type leaf struct{ rules []*rule }

// place finds or makes the leaf of a pattern. It is nil if the pattern brings
// more shapes than the bound.
func (t *tree) place(p *pattern) *leaf {
	if p.segments == nil && !p.prefix {
		if t.exact == nil {
			t.exact = map[string]*leaf{}
		}
		l := t.exact[p.shape]
		if l == nil {
			l = &leaf{}
			t.exact[p.shape] = l
			t.longest = max(t.longest, len(p.shape))
		}
		return l
	}
	n, s := &t.root, shape{}
	for _, seg := range p.segments {
		s.depth++
		if seg == aParam {
			s.params |= 1 << (s.depth - 1)
		}
		if n = t.child(n, seg, s); n == nil {
			return nil
		}
	}
	if p.prefix {
		t.depth = max(t.depth, s.depth)
		return orNew(&n.prefix)
	}
	return orNew(&n.whole)
}

// child finds or makes the child of n for a segment.
func (t *tree) child(n *node, seg string, s shape) *node {
	if seg == aParam && n.param != nil {
		return n.param
	}
	if c := n.children[seg]; c != nil {
		return c
	}
	if _, ok := t.shapes[s]; !ok {
		if len(t.shapes) == maxShapes {
			return nil
		}
		if t.shapes == nil {
			t.shapes = map[shape]struct{}{}
		}
		t.shapes[s] = struct{}{}
	}
	c := &node{}
	if seg == aParam {
		n.param = c
		return c
	}
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[seg] = c
	t.widest = max(t.widest, len(seg))
	return c
}

func orNew(l **leaf) *leaf {
	if *l == nil {
		*l = &leaf{}
	}
	return *l
}

// each calls f for every leaf.
func (t *tree) each(f func(*leaf)) {
	for _, l := range t.exact {
		f(l)
	}
	t.root.each(f)
}

func (n *node) each(f func(*leaf)) {
	for _, l := range []*leaf{n.whole, n.prefix} {
		if l != nil {
			f(l)
		}
	}
	for _, c := range n.children {
		c.each(f)
	}
	if n.param != nil {
		n.param.each(f)
	}
}
