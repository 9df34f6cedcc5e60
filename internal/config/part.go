package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
)

// A Part is a component with its settings, {kind: settings}, or a reference to
// one that has a name in the file. The zero Part is of no kind.
type Part struct {
	Ref  string   // the name, if the part is a reference
	Kind string   // otherwise
	At   Position // where it stands in the file

	doc      *document
	node     *node // what is written
	settings *node // below the kind
}

// Decode reads the settings into v, a pointer, by the rules of this package. A
// part without settings leaves v with its defaults. What is wrong is returned as
// [Problems]. It may be called from several goroutines, and more than once.
func (p Part) Decode(v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("settings cannot be decoded into %T", v)
	}
	if p.Ref != "" {
		return Problems{{At: p.At, Message: fmt.Sprintf("%q is a name: it has no settings of its own", p.Ref)}}
	}
	d := &decoder{doc: p.doc}
	if d.doc == nil {
		d.doc = &document{}
	}
	d.settings(p, rv.Elem())
	return d.problems.asError()
}

// settings brings the settings of p into v. Nothing written is an empty mapping.
func (d *decoder) settings(p Part, v reflect.Value) {
	d.doc.preset(v)
	n := p.settings
	if n == nil {
		n = &node{line: p.At.Line, column: p.At.Column}
	}
	if n.kind != null || n.bad {
		d.value(n, v, nil)
		return
	}
	empty := &node{kind: mapping, line: n.line, column: n.column}
	if v.Kind() == reflect.Struct {
		d.value(empty, v, nil)
		return
	}
	d.validate(empty, v)
}

// Locate turns an error of building the part into problems with positions, by
// the paths of its field errors. An error without one is placed where the
// settings of the part begin. Problems, such as those of Decode, are returned as
// they are. No message shows a secret.
func (p Part) Locate(err error) Problems {
	n := p.settings
	if n == nil {
		n = p.node
	}
	return located(p.doc, n, p.At, err)
}

// located is locate for what may not have been read from a file.
func located(d *document, n *node, at Position, err error) Problems {
	if err == nil {
		return nil
	}
	if d == nil || n == nil {
		return Problems{{At: at, Message: oneLine(err.Error())}}
	}
	return d.locate(n, err)
}

// part reads an element of "use": a name, or one {kind: settings}.
func (d *decoder) part(n *node, p *Part) bool {
	*p = Part{At: d.doc.position(n), doc: d.doc, node: n}
	switch n.kind {
	case text:
		if p.Ref = n.text; p.Ref != "" {
			return true
		}
	case mapping:
		return d.kind(n, p)
	case null, boolean, whole, float, list:
	}
	return d.expected(n, "the name of a policy, or {kind: settings}", "")
}

// kind reads {kind: settings}.
func (d *decoder) kind(n *node, p *Part) bool {
	if len(n.in) == 2 {
		p.Kind, p.settings = n.in[0].text, &n.in[1]
		return !p.settings.scalar() || !p.settings.bad
	}
	if n.bad {
		return false
	}
	if len(n.in) == 0 {
		return d.fail(n, "expected one {kind: settings}, found an empty mapping")
	}
	first, second := &n.in[0], &n.in[2]
	if _, ok := airside.UpstreamKind(first.text); ok || isPolicy(first.text) {
		return d.fail(second, fmt.Sprintf("expected one {kind: settings}, found %q beside %q: indent it further if it is a setting of %s",
			second.text, first.text, first.text))
	}
	return d.fail(first, fmt.Sprintf("expected one {kind: settings}, found %q and %q: the kind is missing around them", first.text, second.text))
}

// nameForm is what upstreams, policies and routes may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

const nameRule = "a name has 1 to 64 letters, digits, dots, hyphens and underscores"

// named reads upstreams or policies. One whose settings are wrong is kept, so
// that what refers to it is not wrong as well.
func (d *decoder) named(n *node, all *[]Named) bool {
	if n.kind != mapping {
		return d.expected(n, "a mapping of names to {kind: settings}", nothing(n, "write {}, or leave the key out"))
	}
	ok := true
	*all = make([]Named, 0, len(n.in)/2)
	for k, v := range n.pairs() {
		if !nameForm.MatchString(k.text) {
			ok = d.fail(k, fmt.Sprintf("%q cannot be a name: %s", cut(k.text, 70), nameRule))
		}
		one := Named{k.text, Part{At: d.doc.position(k), doc: d.doc, node: v}}
		switch {
		case v.kind == mapping:
			ok = d.kind(v, &one.Part) && ok
		case v.bad:
			ok = false
		case v.kind == text && strings.Contains(v.text, "://"):
			ok = d.expected(v, "{kind: settings}", " (write { http: { url: "+strconv.Quote(cut(v.text, 60))+" } })")
		default:
			ok = d.expected(v, "{kind: settings}", "")
		}
		*all = append(*all, one)
	}
	return ok
}
