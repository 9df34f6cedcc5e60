package config

import (
	"iter"
	"regexp"
	"strconv"
	"strings"
)

// A kind is what a node of the file is, by the core schema of YAML 1.2 (section
// 10.3.2): "no" and "off" are text, and a date is text.
type kind uint8

const (
	null kind = iota
	text
	boolean
	whole // a number without fraction
	float
	list
	mapping
)

// A node is a piece of the file: aliases followed, references resolved, comments
// left out. Nodes do not change once the file is read, but for secret.
type node struct {
	kind   kind
	flow   bool // written in brackets
	ref    bool // holds the value of a reference
	secret bool // never to be shown
	bad    bool // wrong in itself, and reported
	line   int
	column int
	text   string // of a scalar, references resolved
	raw    string // of a scalar that holds "${": as it is written
	in     []node // elements of a list; key, value, key, value of a mapping
}

var (
	wholeForm = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	floatForm = regexp.MustCompile(`^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// kindOf says what an unquoted scalar is.
func kindOf(s string) kind {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return null
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return boolean
	}
	if len(s) > 400 || !strings.ContainsAny(s[:1], "+-.0123456789") {
		return text
	}
	if wholeForm.MatchString(s) {
		return whole
	}
	if floatForm.MatchString(s) {
		return float
	}
	return text
}

func (n *node) scalar() bool { return n.kind != list && n.kind != mapping }

// pairs yields the keys and values of a mapping.
func (n *node) pairs() iter.Seq2[*node, *node] {
	return func(yield func(k, v *node) bool) {
		if n.kind != mapping {
			return
		}
		for i := 0; i+1 < len(n.in); i += 2 {
			if !yield(&n.in[i], &n.in[i+1]) {
				return
			}
		}
	}
}

// at returns the value under key, or nil.
func (n *node) at(key string) *node {
	for k, v := range n.pairs() {
		if k.text == key {
			return v
		}
	}
	return nil
}

// find follows a path such as "retry.on[2]" as far as it leads, and returns the
// last node that is there. A key of the file may itself hold dots and brackets:
// the longest that fits is followed.
func (n *node) find(path string) *node {
	for path != "" {
		path = strings.TrimPrefix(path, ".")
		if next, rest, ok := n.index(path); ok {
			n, path = next, rest
			continue
		}
		best := -1
		for i := 0; n.kind == mapping && i+1 < len(n.in); i += 2 {
			key := n.in[i].text
			rest, ok := strings.CutPrefix(path, key)
			if ok && key != "" && (rest == "" || rest[0] == '.' || rest[0] == '[') && (best < 0 || len(key) > len(n.in[best].text)) {
				best = i
			}
		}
		if best < 0 {
			return n
		}
		path = path[len(n.in[best].text):]
		n = &n.in[best+1]
	}
	return n
}

// index follows "[2]" at the beginning of path. What may be written as one
// element or as a list of them has itself as its element 0.
func (n *node) index(path string) (next *node, rest string, ok bool) {
	inner, ok := strings.CutPrefix(path, "[")
	if !ok {
		return nil, "", false
	}
	digits, rest, ok := strings.Cut(inner, "]")
	i, err := strconv.Atoi(digits)
	if !ok || err != nil || i < 0 {
		return nil, "", false
	}
	if n.kind == list && i < len(n.in) {
		return &n.in[i], rest, true
	}
	return n, rest, n.kind != list && i == 0
}

// scalars yields every scalar value at n and below it.
func (n *node) scalars(yield func(*node) bool) bool {
	if n.scalar() {
		return yield(n)
	}
	step, first := 1, 0
	if n.kind == mapping {
		step, first = 2, 1
	}
	for i := first; i < len(n.in); i += step {
		if !n.in[i].scalars(yield) {
			return false
		}
	}
	return true
}

// found describes n for a message: what it is, and what it says unless that is
// a secret or came from a reference.
func (n *node) found() string {
	switch {
	case n.kind == mapping:
		return "a mapping"
	case n.kind == list:
		return "a list"
	case n.kind == null:
		return "nothing"
	case n.ref:
		return "the value of " + n.reference()
	case n.secret:
		return [...]string{text: "other text", boolean: "true or false", whole: "a number", float: "a number"}[n.kind]
	case n.kind == text:
		return strconv.Quote(cut(n.text, 60))
	case n.kind == boolean:
		return n.text
	}
	return "the number " + cut(n.text, 60)
}

// reference is the first reference of a scalar that holds one, without its
// default, which may be a secret.
func (n *node) reference() string {
	_, inner, _ := strings.Cut(strings.ReplaceAll(n.raw, "$${", ""), "${")
	inner, _, _ = strings.Cut(inner, "}")
	inner, _, _ = strings.Cut(inner, ":-")
	return "${" + inner + "}"
}
