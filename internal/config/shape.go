package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
)

var (
	laterType   = reflect.TypeFor[airside.Later]()
	secretType  = reflect.TypeFor[airside.Secret]()
	textForm    = reflect.TypeFor[encoding.TextUnmarshaler]()
	defaultForm = reflect.TypeFor[interface{ Defaults() }]()
	openForm    = reflect.TypeFor[interface{ openScalar() }]() // holds a secret, but not where it is written as a scalar
)

// A shape is what the decoder and the schema know about a type of settings.
type shape struct {
	fields   []setting // of a struct, in the order of declaration
	embedded [][]int   // structs whose fields are among them
	keys     []string  // that are possible in this version
	text     bool      // may be written as a scalar: it implements encoding.TextUnmarshaler
	defaults bool      // it, or a field of it, has the method Defaults
	secret   bool      // it is, or holds, an airside.Secret
}

// A setting is a field of a struct of settings, as its tags describe it.
type setting struct {
	key      string
	name     string       // of the field, for the documentation
	owner    reflect.Type // the struct that declares it
	index    []int
	typ      reflect.Type
	enum     []string
	of       string // the registry that parts are of: "upstream", "policy"; or "protocol"
	required bool
	single   bool // a list that may be written as its one element
	path     bool // a path, relative to the folder of the file
	later    bool // brought by a later version
}

// shape returns the shape of t. It is made once for a document.
func (d *document) shape(t reflect.Type) *shape {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shapes == nil {
		d.shapes = map[reflect.Type]*shape{}
	}
	return shapeOf(t, d.shapes)
}

func shapeOf(t reflect.Type, known map[reflect.Type]*shape) *shape {
	if s, ok := known[t]; ok {
		return s
	}
	s := &shape{
		text:     reflect.PointerTo(t).Implements(textForm),
		defaults: reflect.PointerTo(t).Implements(defaultForm),
		secret:   holdsSecret(t, map[reflect.Type]bool{}),
	}
	known[t] = s
	if t.Kind() != reflect.Struct {
		return s
	}
	s.list(t, nil)
	for _, index := range s.embedded {
		s.defaults = s.defaults || shapeOf(t.FieldByIndex(index).Type, known).defaults
	}
	for i := range s.fields {
		f := &s.fields[i]
		if !f.later {
			s.keys = append(s.keys, f.key)
		}
		s.defaults = s.defaults || f.typ.Kind() == reflect.Struct && shapeOf(f.typ, known).defaults
	}
	return s
}

// holdsSecret reports whether a value of type t may hold a secret where it is written as
// a scalar.
func holdsSecret(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == secretType || seen[t] {
		return t == secretType
	}
	if seen[t] = true; reflect.PointerTo(t).Implements(openForm) {
		return false
	}
	//nolint:exhaustive // the others hold nothing
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return holdsSecret(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if holdsSecret(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

// list lists the settings of a struct: its exported fields that have a yaml tag,
// and in their place those of embedded structs that have none.
func (s *shape) list(t reflect.Type, above []int) {
	for f := range t.Fields() {
		index := append(slices.Clone(above), f.Index...)
		tag, tagged := f.Tag.Lookup("yaml")
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct {
			if f.IsExported() {
				s.embedded = append(s.embedded, index)
			}
			s.list(f.Type, index)
			continue
		}
		key, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || key == "" || key == "-" {
			continue
		}
		one := setting{key: key, name: f.Name, owner: t, index: index, typ: f.Type, of: f.Tag.Get("of"), later: f.Type == laterType}
		for option := range strings.SplitSeq(options, ",") {
			one.required = one.required || option == "required"
			one.single = one.single || option == "single"
			one.path = one.path || option == "path"
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			one.enum = strings.Split(enum, ",")
		}
		s.fields = append(s.fields, one)
	}
}

// setting returns the setting under key, or nil.
func (s *shape) setting(key string) *setting {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	return nil
}

// preset calls the Defaults methods of v and of the structs in it, the innermost
// first, so that what contains others has the last word.
func (d *document) preset(v reflect.Value) {
	s := d.shape(v.Type())
	if !s.defaults {
		return
	}
	for i := range s.fields {
		if f := &s.fields[i]; f.typ.Kind() == reflect.Struct {
			d.preset(v.FieldByIndex(f.index))
		}
	}
	for _, index := range s.embedded {
		d.preset(v.FieldByIndex(index))
	}
	if x, ok := reflect.TypeAssert[interface{ Defaults() }](v.Addr()); ok {
		x.Defaults()
	}
}
