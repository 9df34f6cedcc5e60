package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const emptyFile = "the file is empty: it needs at least one route, such as " +
	"routes: [{ path: /*, to: http://127.0.0.1:9001 }]"

// A reader makes a tree of nodes of the text of a file.
type reader struct {
	*decoder
	refs    *references
	nodes   int
	aliased int
	inside  int  // aliases around the node being read
	full    bool // a bound was reached, and reported
}

// read reads d.text into d.root. It reports what is wrong with the text as YAML,
// and with references; it stops at the first error of syntax, since nothing
// after it is certain.
func (d *decoder) read(lookup Lookup) bool {
	if !d.readable() {
		return false
	}
	root, ok := d.parse()
	if !ok {
		return false
	}
	r := &reader{decoder: d, refs: &references{lookup: lookup, dir: d.doc.dir}}
	before := len(d.problems)
	d.doc.root = r.node(root, 1)
	d.doc.files, d.doc.values = r.refs.files, r.refs.values
	if d.doc.root.kind == null && len(d.problems) == before {
		return d.fail(&node{line: 1, column: 1}, emptyFile)
	}
	return !r.full
}

// readable refuses what is no text: too much of it, not UTF-8, or with
// characters that YAML does not allow (YAML 1.2.2 section 5.1).
func (d *decoder) readable() bool {
	b := bytes.TrimPrefix(d.doc.text, []byte("\ufeff"))
	if len(d.doc.text) > maxFile {
		d.add(Problem{At: Position{File: d.doc.name}, Message: fmt.Sprintf("the file is larger than %d MiB", maxFile>>20)})
		return false
	}
	if bytes.HasPrefix(b, []byte{0xFF, 0xFE}) || bytes.HasPrefix(b, []byte{0xFE, 0xFF}) {
		return d.fail(&node{line: 1, column: 1}, "the file is UTF-16: save it as UTF-8")
	}
	n := node{line: 1, column: 1}
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return d.fail(&n, fmt.Sprintf("the byte 0x%02X is not UTF-8: save the file as UTF-8", b[i]))
		case r == '\n':
			n.line, n.column = n.line+1, 0
		case r < ' ' && r != '\t' && r != '\r', r == 0x7F, r == 0xFFFE, r == 0xFFFF:
			return d.fail(&n, fmt.Sprintf("the control character U+%04X is not allowed in a YAML file", r))
		}
		i += size
		n.column++
	}
	return true
}

// parse reads the text as YAML: one document, not empty.
func (d *decoder) parse() (root *yaml.Node, ok bool) {
	defer func() { // whatever happens in the parser, a file is only refused
		if r := recover(); r != nil {
			root, ok = nil, d.fail(&node{line: 1, column: 1}, "the file cannot be read as YAML")
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader(d.doc.text), yaml.WithPlugin(bounds{}))
	if err != nil {
		return nil, d.fail(nil, err.Error())
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return nil, d.fail(&node{line: 1, column: 1}, emptyFile)
	} else if err != nil {
		return nil, d.syntax(err)
	}
	if err := loader.Load(&second); err == nil {
		at := &node{line: second.Line, column: second.Column}
		return nil, d.fail(at, `a second document begins here ("---"): write one document a file`)
	} else if !errors.Is(err, io.EOF) {
		return nil, d.syntax(err)
	}
	if first.Kind != yaml.DocumentNode || len(first.Content) != 1 {
		return nil, d.fail(&node{line: 1, column: 1}, emptyFile)
	}
	return first.Content[0], true
}

// bounds stops the parser before it goes too deep.
type bounds struct{}

// CheckDepth refuses a depth beyond the bound.
func (bounds) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errors.New(tooDeep)
	}
	return nil
}

// CheckAlias allows every alias: they are counted when they are followed.
func (bounds) CheckAlias(int, int) error { return nil }

var tooDeep = fmt.Sprintf("mappings and lists stand in each other more than %d deep", maxDepth)

// node makes a node of what the parser found, and reports what is wrong with it.
func (r *reader) node(y *yaml.Node, depth int) node {
	n := node{line: y.Line, column: y.Column, flow: y.Style&yaml.FlowStyle != 0}
	if !r.room(&n, depth) {
		return n
	}
	if y.Style&yaml.TaggedStyle != 0 && (y.Tag != "!!str" || y.Kind != yaml.ScalarNode) {
		n.bad = !r.fail(&n, fmt.Sprintf("tags such as %s are not supported: leave it out", cut(y.Tag, 60)))
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		r.inside++
		n = r.node(y.Alias, depth)
		r.inside--
	case yaml.MappingNode:
		n.kind = mapping
		r.pairs(&n, y, depth)
	case yaml.SequenceNode:
		n.kind = list
		n.in = make([]node, 0, len(y.Content))
		for _, c := range y.Content {
			n.in = append(n.in, r.node(c, depth+1))
		}
	default:
		r.text(&n, y)
	}
	return n
}

// room checks the bounds, of which only the first one reached is reported.
func (r *reader) room(n *node, depth int) bool {
	r.nodes++
	if r.inside > 0 {
		r.aliased++
	}
	if n.bad = r.full; n.bad {
		return false
	}
	var message string
	switch {
	case depth > maxDepth+1:
		message = tooDeep
	case r.aliased > maxAliased:
		message = fmt.Sprintf("aliases bring in more than %d values", maxAliased)
	case r.nodes > maxNodes:
		message = fmt.Sprintf("the file holds more than %d keys and values", maxNodes)
	default:
		return true
	}
	r.full, n.bad = true, true
	return r.fail(n, message)
}

// text reads a scalar.
func (r *reader) text(n *node, y *yaml.Node) {
	n.kind, n.text = text, y.Value
	quoted := y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0
	if !quoted && y.Tag != "!" {
		n.kind = kindOf(y.Value)
	}
	if strings.Contains(y.Value, "${") {
		n.raw = y.Value
		value, ref, wrong := r.refs.resolve(y.Value)
		n.text, n.ref = value, ref
		for _, err := range wrong {
			n.bad = !r.fail(n, err.Error())
		}
	}
}

// pairs reads the keys and values of a mapping. A pair with a wrong key is
// reported and left out; the others stay, so that they are checked, too.
func (r *reader) pairs(n *node, y *yaml.Node, depth int) {
	n.in = make([]node, 0, len(y.Content))
	seen := make(map[string]Position, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content) && !r.full; i += 2 {
		k, ok := r.key(y.Content[i])
		if !ok {
			n.bad = true
			r.node(y.Content[i+1], depth+1) // for the problems in it
			continue
		}
		v := r.node(y.Content[i+1], depth+1)
		if v.kind == null && v.text == "" { // the parser has no place for what is not there
			v.line, v.column = k.line, k.column
		}
		if first, dup := seen[k.text]; dup {
			n.bad = !r.fail(&k, fmt.Sprintf("duplicate key %q (first at %d:%d)", k.text, first.Line, first.Column))
			continue
		}
		seen[k.text] = Position{Line: k.line, Column: k.column}
		if secretKey(k.text) {
			hide(&v)
		}
		n.in = append(n.in, k, v)
	}
}

// key reads the key of a pair.
func (r *reader) key(y *yaml.Node) (node, bool) {
	n := node{kind: text, text: y.Value, line: y.Line, column: y.Column}
	if y.Kind == yaml.AliasNode && y.Alias != nil && y.Alias.Kind == yaml.ScalarNode {
		n.text = y.Alias.Value
	} else if y.Kind != yaml.ScalarNode {
		return n, r.fail(&n, "a key must be text: quote it if it begins with a bracket")
	}
	r.nodes++
	var message string
	switch {
	case y.Style&yaml.TaggedStyle != 0 && y.Tag != "!!str":
		message = fmt.Sprintf("tags such as %s are not supported: leave it out", cut(y.Tag, 60))
	case y.Tag == "!!merge":
		message = "merging with << is not supported: write the keys out"
	case n.text == "":
		message = "a key is missing before the colon"
	case len(n.text) > maxKey:
		message = fmt.Sprintf("a key has at most %d bytes", maxKey)
	case strings.ContainsFunc(n.text, func(c rune) bool { return c < ' ' || c >= 0x7F && c < 0xA0 }):
		message = "a key holds no control characters"
	case strings.Contains(n.text, "${"):
		message = "references stand in values only, not in keys"
	default:
		return n, true
	}
	return n, r.fail(&n, message)
}

// hide marks what stands under a key that names a secret.
func hide(v *node) {
	switch v.kind {
	case mapping, boolean, null:
	case list:
		for i := range v.in {
			if v.in[i].kind != mapping {
				hide(&v.in[i])
			}
		}
	case whole, float:
		v.secret = len(v.text) >= longNumber
	default:
		v.secret = true
	}
}

// longNumber is how long a number is, in characters, that may be a secret and
// not a setting.
const longNumber = 6

// secretKeys are names of settings and headers whose values are not shown.
var secretKeys = []string{
	"authorization", "cookie", "password", "passphrase", "token", "secret",
	"api-key", "apikey", "bearer", "private-key", "credentials",
}

// secretKey reports whether key is one of them, or ends in one: X-Api-Key,
// client_secret.
func secretKey(key string) bool {
	k := strings.ReplaceAll(strings.ToLower(key), "_", "-")
	return slices.ContainsFunc(secretKeys, func(s string) bool {
		rest, ok := strings.CutSuffix(k, s)
		return ok && (rest == "" || strings.HasSuffix(rest, "-"))
	})
}
