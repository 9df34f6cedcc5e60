package config

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"math"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// Schema returns the JSON Schema (2020-12) of the file, with every kind that is
// registered. It is the same for the same kinds.
//
// Docs returns the documentation of a field of a type, or of the type itself if
// field is empty; it may be nil. A type is called by its package path and its
// name ("example.com/gateway/policy/cors.Config"), a field by its name in Go.
func Schema(docs func(typeName, field string) string) ([]byte, error) {
	s := newSchemas(docs)
	root := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "The configuration of Airside"},
	}
	root = append(root, s.structure(reflect.TypeFor[Config]())...)
	s.kinds()
	s.defs = append(s.defs,
		member{"reference", object{
			{"description", "Text with a reference, such as ${env:NAME} or ${file:path}"},
			{"type", "string"},
			{"pattern", `^.*\$\{.*\}.*$`},
		}},
		member{"duration", object{
			{"description", "A duration, such as 300ms, 20s or 24h"},
			{"anyOf", []any{
				object{{"type", "string"}, {"pattern", `^(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`}},
				object{{"const", 0}},
				refTo("reference"),
			}},
		}},
		member{"size", object{
			{"description", "A number of bytes, such as 64KiB or 10MiB"},
			{"anyOf", []any{
				object{{"type", "string"}, {"pattern", `^\s*[0-9]+\s*([KMGT]i?B|B)?\s*$`}},
				object{{"type", "integer"}, {"minimum", 0}},
				refTo("reference"),
			}},
		}},
	)
	root = append(root, member{"$defs", s.defs})
	if s.err != nil {
		return nil, fmt.Errorf("writing the schema: %w", s.err)
	}
	var b bytes.Buffer
	enc := jsontext.NewEncoder(&b, jsontext.WithIndent("  "))
	if err := write(enc, root); err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return b.Bytes(), nil
}

// An object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

func write(enc *jsontext.Encoder, v any) error {
	switch x := v.(type) {
	case object:
		if err := enc.WriteToken(jsontext.BeginObject); err != nil {
			return err
		}
		for _, m := range x {
			if err := enc.WriteToken(jsontext.String(m.key)); err != nil {
				return err
			}
			if err := write(enc, m.value); err != nil {
				return err
			}
		}
		return enc.WriteToken(jsontext.EndObject)
	case []any:
		if err := enc.WriteToken(jsontext.BeginArray); err != nil {
			return err
		}
		for _, e := range x {
			if err := write(enc, e); err != nil {
				return err
			}
		}
		return enc.WriteToken(jsontext.EndArray)
	case string:
		return enc.WriteToken(jsontext.String(x))
	case bool:
		return enc.WriteToken(jsontext.Bool(x))
	case int:
		return enc.WriteToken(jsontext.Int(int64(x)))
	case int64:
		return enc.WriteToken(jsontext.Int(x))
	case uint64:
		return enc.WriteToken(jsontext.Uint(x))
	}
	return fmt.Errorf("a %T has no place in a schema", v)
}

// schemas makes the schema of each type once.
type schemas struct {
	docs   func(typeName, field string) string
	defs   object
	shapes map[reflect.Type]*shape
	names  map[reflect.Type]string // of the definitions
	taken  map[string]bool
	err    error // types that have no schema
}

func newSchemas(docs func(typeName, field string) string) *schemas {
	return &schemas{docs: docs, shapes: map[reflect.Type]*shape{}, names: map[reflect.Type]string{}, taken: map[string]bool{}}
}

func refTo(def string) object { return object{{"$ref", "#/$defs/" + def}} }

// described puts the documentation before s.
func (s *schemas) described(t reflect.Type, field string, o object) object {
	if s.docs == nil || t.Name() == "" {
		return o
	}
	doc := strings.TrimSpace(s.docs(t.PkgPath()+"."+t.Name(), field))
	if doc == "" {
		return o
	}
	return append(object{{"description", doc}}, o...)
}

// structure is the schema of a struct written as a mapping.
func (s *schemas) structure(t reflect.Type) object {
	sh := shapeOf(t, s.shapes)
	var props object
	var required []any
	for i := range sh.fields {
		f := &sh.fields[i]
		if f.later {
			continue
		}
		props = append(props, member{f.key, s.described(f.owner, f.name, s.of(f.typ, f))})
		if f.required {
			required = append(required, f.key)
		}
	}
	o := object{{"type", "object"}, {"properties", props}}
	if len(required) > 0 {
		o = append(o, member{"required", required})
	}
	if t == reflect.TypeFor[Route]() {
		o = append(o, member{"anyOf", []any{
			object{{"required", []any{"to"}}},
			object{{"required", []any{"use"}}, {"properties", object{{"use", object{{"minItems", 1}}}}}},
		}})
	}
	return s.described(t, "", append(o, member{"additionalProperties", false}))
}

// of is the schema of a value of type t, under the setting f.
func (s *schemas) of(t reflect.Type, f *setting) object {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return refTo("duration")
	case reflect.TypeFor[airside.Size]():
		return refTo("size")
	case reflect.TypeFor[[]Named]():
		return object{{"type", "object"}, {"propertyNames", object{{"pattern", nameForm.String()}}}, {"additionalProperties", refTo(f.of)}}
	case reflect.TypeFor[Part]():
		return object{{"anyOf", []any{object{{"type", "string"}, {"minLength", 1}}, refTo(f.of)}}}
	case reflect.TypeFor[To]():
		return targets()
	}
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem(), f)
	}
	if t.Kind() == reflect.Struct {
		return s.definition(t)
	}
	if shapeOf(t, s.shapes).text {
		return object{{"type", []any{"string", "number", "boolean"}}}
	}
	//nolint:exhaustive // the others are scalars
	switch t.Kind() {
	case reflect.Slice:
		return s.slice(t, f)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return s.unsupported(t)
		}
		return object{{"type", "object"}, {"additionalProperties", s.of(t.Elem(), f)}}
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return s.unsupported(t)
		}
		return object{}
	}
	return s.basic(t, f)
}

func (s *schemas) unsupported(t reflect.Type) object {
	s.err = errors.Join(s.err, unsupported(t))
	return object{}
}

func (s *schemas) slice(t reflect.Type, f *setting) object {
	element := s.of(t.Elem(), f)
	o := object{{"type", "array"}, {"items", element}}
	if f != nil && f.owner == reflect.TypeFor[Config]() && f.name != "Use" {
		o = append(o, member{"minItems", 1})
	}
	if f != nil && f.single {
		return object{{"oneOf", []any{element, o}}}
	}
	return o
}

// basic is the schema of a scalar.
func (s *schemas) basic(t reflect.Type, f *setting) object {
	var o object
	//nolint:exhaustive // the others are integers
	switch t.Kind() {
	case reflect.String:
		words := words(f)
		if len(words) == 0 {
			return object{{"type", "string"}}
		}
		o = object{{"enum", words}}
	case reflect.Bool:
		o = object{{"type", "boolean"}}
	case reflect.Float32, reflect.Float64:
		o = object{{"type", "number"}}
	default:
		if !integer(t) {
			return s.unsupported(t)
		}
		low, high := bounded(t)
		o = object{{"type", "integer"}}
		if low != math.MinInt64 {
			o = append(o, member{"minimum", low})
		}
		if high < math.MaxInt64 {
			o = append(o, member{"maximum", high})
		}
	}
	return object{{"anyOf", []any{o, refTo("reference")}}}
}

// words lists what the text under f may be; empty if it may be anything.
func words(f *setting) []any {
	if f == nil {
		return nil
	}
	list := f.enum
	if f.of == "protocol" {
		_, _, list = airside.Names()
	}
	all := make([]any, len(list))
	for i, w := range list {
		all[i] = w
	}
	return all
}

// definition is a reference to the schema of a struct.
func (s *schemas) definition(t reflect.Type) object {
	if name, ok := s.names[t]; ok {
		return refTo(name)
	}
	if t.Name() == "" {
		return s.form(t)
	}
	name := s.name(t)
	s.names[t] = name
	at := len(s.defs)
	s.defs = append(s.defs, member{key: name})
	s.defs[at].value = s.form(t)
	return refTo(name)
}

// form is the schema of a struct, which may have a scalar form as well.
func (s *schemas) form(t reflect.Type) object {
	sh := shapeOf(t, s.shapes)
	scalar := object{{"type", []any{"string", "number", "boolean"}}}
	switch {
	case !sh.text:
		return s.structure(t)
	case len(sh.fields) == 0:
		return s.described(t, "", scalar)
	}
	return object{{"anyOf", []any{scalar, s.structure(t)}}}
}

// name is what the definition of a type is called: policy.cors.Config.
func (s *schemas) name(t reflect.Type) string {
	p := strings.TrimPrefix(t.PkgPath(), path.Dir(path.Dir(reflect.TypeFor[Config]().PkgPath()))+"/")
	base := strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '.'
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return '_'
	}, p+"."+t.Name())
	name := base
	for i := 2; s.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	s.taken[name] = true
	return name
}

// kinds adds what an upstream and a policy may be.
func (s *schemas) kinds() {
	policies, upstreams, _ := airside.Names()
	var policy, upstream object
	for _, name := range policies {
		k, _ := airside.PolicyKind(name)
		policy = append(policy, member{name, s.settings(k.Settings)})
	}
	for _, name := range upstreams {
		k, _ := airside.UpstreamKind(name)
		upstream = append(upstream, member{name, s.settings(k.Settings)})
	}
	s.defs = append(s.defs, member{"policy", oneKind(policy)}, member{"upstream", oneKind(upstream)})
}

// settings is the schema of what stands below a kind. Nothing stands for the
// defaults, if there are defaults for everything.
func (s *schemas) settings(t reflect.Type) object {
	if slices.ContainsFunc(shapeOf(t, s.shapes).fields, func(f setting) bool { return f.required }) {
		return s.described(t, "", s.of(t, &setting{}))
	}
	return s.described(t, "", object{{"anyOf", []any{s.of(t, &setting{}), object{{"type", "null"}}}}})
}

func oneKind(kinds object) object {
	return object{
		{"type", "object"},
		{"properties", kinds},
		{"minProperties", 1},
		{"maxProperties", 1},
		{"additionalProperties", false},
	}
}

// targets is the schema of where a route leads.
func targets() object {
	name := object{{"type", "string"}, {"minLength", 1}}
	weight := object{{"anyOf", []any{object{{"type", "integer"}, {"minimum", 0}, {"maximum", maxWeight}}, refTo("reference")}}}
	return object{{"oneOf", []any{
		name,
		object{{"type", "array"}, {"items", name}, {"minItems", 1}, {"maxItems", maxTargets}},
		object{{"type", "object"}, {"additionalProperties", weight}, {"minProperties", 1}, {"maxProperties", maxTargets}},
	}}}
}
