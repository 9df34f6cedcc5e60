package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// value brings n into v, which can be set and holds its defaults. It returns
// false if anything was wrong, after having reported all of it. f is the setting
// that v is the value of, or an element of; nil if it is of none.
func (d *decoder) value(n *node, v reflect.Value, f *setting) bool {
	if n.bad && n.scalar() {
		return false
	}
	return d.content(n, v, f) && !n.bad && d.validate(n, v)
}

// validate calls the Validate methods of v and of the structs embedded in it.
// What is found twice, since the method is promoted, is reported once.
func (d *decoder) validate(n *node, v reflect.Value) bool {
	ok := true
	if v.Kind() == reflect.Struct {
		for _, index := range d.doc.shape(v.Type()).embedded {
			ok = d.validate(n, v.FieldByIndex(index)) && ok
		}
	}
	if x, has := reflect.TypeAssert[interface{ Validate() error }](v.Addr()); has {
		if err := x.Validate(); err != nil {
			d.add(d.doc.locate(n, err)...)
			return false
		}
	}
	return ok
}

// content is value without Validate.
func (d *decoder) content(n *node, v reflect.Value, f *setting) bool {
	switch x := v.Addr().Interface().(type) {
	case *[]Named:
		return d.named(n, x)
	case *Part:
		return d.part(n, x)
	case *To:
		return d.to(n, x)
	}
	if d.mark && n.scalar() && d.doc.shape(v.Type()).secret {
		n.secret = true
	}
	if done, ok := d.special(n, v); done {
		return ok
	}
	if n.scalar() && n.kind != null && d.doc.shape(v.Type()).text {
		return d.unmarshal(n, v)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return d.pointer(n, v, f)
	case reflect.Struct:
		return d.structure(n, v)
	case reflect.Slice:
		return d.slice(n, v, f)
	case reflect.Map:
		return d.mapping(n, v, f)
	case reflect.Interface:
		return d.anything(n, v)
	}
	return d.scalar(n, v, f)
}

// pointer brings n into what v points to. A key that is written without a value
// is refused, since it may mean "absent" as well as "with defaults".
func (d *decoder) pointer(n *node, v reflect.Value, f *setting) bool {
	if n.kind == null && v.Type().Elem().Kind() == reflect.Struct {
		return d.fail(n, "expected a mapping, found nothing (write {} for the defaults, or leave the key out)")
	}
	target := reflect.New(v.Type().Elem())
	if v.IsNil() {
		d.doc.preset(target.Elem())
	} else {
		target.Elem().Set(v.Elem())
	}
	if !d.value(n, target.Elem(), f) {
		return false
	}
	v.Set(target)
	return true
}

// structure brings a mapping into a struct.
func (d *decoder) structure(n *node, v reflect.Value) bool {
	s := d.doc.shape(v.Type())
	if n.kind != mapping || len(s.fields) == 0 && s.text {
		return d.fail(n, "expected "+forms(s)+", found "+n.found()+form(n, s))
	}
	ok := true
	for k, val := range n.pairs() {
		f := s.setting(k.text)
		switch {
		case f == nil:
			ok = d.unknown(n, k, s.keys)
		case f.later:
			ok = d.fail(k, fmt.Sprintf("%q %s", k.text, Later))
		default:
			ok = d.value(val, v.FieldByIndex(f.index), f) && ok
		}
	}
	for i := range s.fields {
		if f := &s.fields[i]; f.required && n.at(f.key) == nil {
			ok = d.missing(n, f.key)
		}
	}
	if x, ok := reflect.TypeAssert[placed](v.Addr()); ok {
		x.place(d.doc, n)
	}
	return ok
}

// unknown reports a key that n may not have, and keeps what was probably meant.
func (d *decoder) unknown(n, k *node, possible []string) bool {
	near := d.nearest(k.text, possible)
	if near != "" {
		if d.slips == nil {
			d.slips = map[slip]bool{}
		}
		d.slips[slip{n, near}] = true
	}
	return d.fail(k, fmt.Sprintf("unknown key %q%s", k.text, meant(near, possible)))
}

// missing reports a key that n lacks, unless it is there with a slip, or n could
// not be read as a whole.
func (d *decoder) missing(n *node, key string) bool {
	if n.bad || d.slips[slip{n, key}] {
		return false
	}
	return d.fail(n, fmt.Sprintf("missing key %q", key))
}

// placed is what keeps its place in the file.
type placed interface{ place(d *document, n *node) }

func forms(s *shape) string {
	switch {
	case !s.text:
		return "a mapping"
	case len(s.fields) == 0:
		return "text"
	}
	return "text or a mapping"
}

// form is a hint for what is written in the place of a mapping with the keys of s.
func form(n *node, s *shape) string {
	required := slices.ContainsFunc(s.fields, func(f setting) bool { return f.required })
	switch {
	case n.kind == null:
		return nothing(n, "write {}, or leave the key out")
	case n.kind == boolean && n.text == "true" && !required && !s.text:
		return " (write {} for the defaults)"
	case 0 < len(s.keys) && len(s.keys) <= maxForm:
		return " (its keys: " + strings.Join(s.keys, ", ") + ")"
	}
	return ""
}

// nothing is a hint for a key that is written without a value.
func nothing(n *node, hint string) string {
	if n.kind != null {
		return ""
	}
	return " (" + hint + ")"
}

// slice brings a list, or the one element of a list, into a slice. What the
// slice held as a default is replaced.
func (d *decoder) slice(n *node, v reflect.Value, f *setting) bool {
	elements := n.in
	switch {
	case n.kind == list:
	case f != nil && f.single && n.kind != null:
		return d.element(n, v, f)
	case n.scalar() && n.kind != null && !n.ref && !n.secret && len(n.text) < 40:
		return d.fail(n, fmt.Sprintf("expected a list, found %s (write [%s])", n.found(), plainOrQuoted(n.text, true)))
	default:
		return d.fail(n, "expected a list, found "+n.found()+nothing(n, "leave the key out"))
	}
	ok := true
	v.Set(reflect.MakeSlice(v.Type(), 0, len(elements)))
	for i := range elements {
		one := reflect.New(v.Type().Elem()).Elem()
		d.doc.preset(one)
		ok = d.value(&elements[i], one, f) && ok
		v.Set(reflect.Append(v, one)) // a wrong one, too: what could be read of it is checked
	}
	return ok
}

// element brings n into v as its only element.
func (d *decoder) element(n *node, v reflect.Value, f *setting) bool {
	one := reflect.New(v.Type().Elem()).Elem()
	d.doc.preset(one)
	if !d.value(n, one, f) {
		return false
	}
	v.Set(reflect.Append(reflect.MakeSlice(v.Type(), 0, 1), one))
	return true
}

// mapping brings a mapping into a map with keys of text. What the map held as a
// default is replaced.
func (d *decoder) mapping(n *node, v reflect.Value, f *setting) bool {
	if v.Type().Key().Kind() != reflect.String {
		return d.fail(n, unsupported(v.Type()).Error())
	}
	if n.kind != mapping {
		return d.fail(n, "expected a mapping, found "+n.found()+nothing(n, "write {}, or leave the key out"))
	}
	ok := true
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.in)/2))
	for k, val := range n.pairs() {
		one := reflect.New(v.Type().Elem()).Elem()
		d.doc.preset(one)
		if !d.value(val, one, f) {
			ok = false
			continue
		}
		v.SetMapIndex(reflect.ValueOf(k.text).Convert(v.Type().Key()), one)
	}
	return ok
}

// anything brings n into an interface value as JSON would: nil, bool, int,
// float64, string, []any and map[string]any.
func (d *decoder) anything(n *node, v reflect.Value) bool {
	if v.NumMethod() > 0 {
		return d.fail(n, unsupported(v.Type()).Error())
	}
	x, ok := d.plain(n)
	if x == nil {
		v.SetZero()
	} else {
		v.Set(reflect.ValueOf(x))
	}
	return ok
}

func (d *decoder) plain(n *node) (x any, ok bool) {
	switch n.kind {
	case null:
		return nil, !n.bad
	case boolean:
		return strings.EqualFold(n.text, "true"), true
	case whole, float:
		return d.number(n)
	case list:
		all := make([]any, 0, len(n.in))
		ok := !n.bad
		for i := range n.in {
			one, fine := d.plain(&n.in[i])
			all, ok = append(all, one), ok && fine
		}
		return all, ok
	case mapping:
		all := make(map[string]any, len(n.in)/2)
		ok := !n.bad
		for k, val := range n.pairs() {
			one, fine := d.plain(val)
			all[k.text], ok = one, ok && fine
		}
		return all, ok
	}
	return n.text, !n.bad
}

// number is an int where it fits, and a float64 otherwise.
func (d *decoder) number(n *node) (any, bool) {
	if decimal.MatchString(n.text) {
		if i, err := strconv.Atoi(n.text); err == nil {
			return i, true
		}
	}
	if f, ok := realNumber(n.text); ok {
		return f, true
	}
	return nil, d.fail(n, "expected a number in decimal, found "+n.found()+" (for text, put it in quotes)")
}
