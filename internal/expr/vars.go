package expr

import (
	"errors"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/airside-gateway/airside"
)

// A variable is one of the names that an expression knows, an object of fields.
// It describes itself to CEL: it is a [types.StructTypeDescriptor].
type variable struct {
	name   string
	typ    *types.Type
	fields []field
}

type field struct {
	name string
	typ  *types.Type
	read func(*activation) any // a CEL value, or a map of Go's
}

// set reports whether the field is other than empty.
func (f *field) set(a *activation) bool {
	switch v := f.read(a).(type) {
	case types.String:
		return v != ""
	case types.Int:
		return v != 0
	case *mapping:
		return len(v.of.names()) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

var (
	textMap  = types.NewMapType(types.StringType, types.StringType)
	claimMap = types.NewMapType(types.StringType, types.DynType)
)

// variables is the whole vocabulary, in the order in which messages list it. The last
// two are for expressions that are compiled [WithAnswer].
var variables = [...]*variable{
	{name: "request", typ: types.NewObjectType("airside.Request"), fields: []field{
		{"method", types.StringType, func(a *activation) any { return types.String(a.x.Request.Method) }},
		{"path", types.StringType, func(a *activation) any { return types.String(a.x.Request.URL.Path) }},
		{"host", types.StringType, func(a *activation) any { return types.String(hostname(a.x.Request.Host)) }},
		{"scheme", types.StringType, func(a *activation) any { return types.String(a.x.Client.Scheme) }},
		{"remote", types.StringType, func(a *activation) any { return types.String(a.x.Client.Addr) }},
		{"headers", textMap, func(a *activation) any { return &a.headers }},
		{"query", textMap, func(a *activation) any { return &a.query }},
	}},
	{name: "call", typ: types.NewObjectType("airside.Call"), fields: []field{
		{"operation", types.StringType, func(a *activation) any { return types.String(a.x.Call.Operation) }},
		{"target", types.StringType, func(a *activation) any { return types.String(a.x.Call.Target) }},
		{"id", types.StringType, func(a *activation) any { return types.String(a.x.Call.ID) }},
	}},
	{name: "caller", typ: types.NewObjectType("airside.Caller"), fields: []field{
		{"id", types.StringType, func(a *activation) any { return types.String(a.x.Caller.ID) }},
		{"claims", claimMap, func(a *activation) any { return a.claims() }},
	}},
	answerVariables[0], answerVariables[1],
}

// hostname is the host without port and brackets, in lower case.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(host)
}

// HasTrait says that fields can be selected and tested.
func (v *variable) HasTrait(trait int) bool { return v.typ.HasTrait(trait) }

// TypeName is the name of the type within CEL.
func (v *variable) TypeName() string { return v.typ.TypeName() }

// ReflectType is nil: the fields are not those of a Go struct.
func (v *variable) ReflectType() reflect.Type { return nil }

// FieldNames lists the fields.
func (v *variable) FieldNames() []string {
	names := make([]string, len(v.fields))
	for i, f := range v.fields {
		names[i] = f.name
	}
	return names
}

// FindFieldType finds a field.
func (v *variable) FindFieldType(name string) (*types.FieldType, bool) {
	f := v.field(name)
	if f == nil {
		return nil, false
	}
	return &types.FieldType{
		Type: f.typ,
		IsSet: func(target any) bool {
			s, ok := target.(*subject)
			return ok && f.set(s.a)
		},
		GetFrom: func(target any) (any, error) {
			s, ok := target.(*subject)
			if !ok {
				return nil, errNotOurs
			}
			return f.read(s.a), nil
		},
	}, true
}

func (v *variable) field(name string) *field {
	for i := range v.fields {
		if v.fields[i].name == name {
			return &v.fields[i]
		}
	}
	return nil
}

// NewValue refuses: an expression cannot make a request.
func (v *variable) NewValue(types.Adapter, map[string]ref.Val) ref.Val {
	return types.NewErr("a value of type %s cannot be made", v.TypeName())
}

// Adapt refuses: there is no Go type to adapt from.
func (v *variable) Adapt(types.Adapter, any) ref.Val {
	return types.NewErr("a value of type %s cannot be made", v.TypeName())
}

var errNotOurs = errors.New("not a variable of the gateway")

// A subject is the value of a variable. It is a [ref.Val] that only its fields
// make something of.
type subject struct {
	a *activation
	v *variable
}

// ConvertToNative refuses.
func (s *subject) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New(s.v.name + " is not a value; name one of its fields")
}

// ConvertToType converts to its own type and to type.
func (s *subject) ConvertToType(t ref.Type) ref.Val {
	switch t.TypeName() {
	case s.v.TypeName():
		return s
	case types.TypeType.TypeName():
		return s.v.typ
	}
	return types.NewErr("%s is not a value; name one of its fields", s.v.name)
}

// Equal compares identity.
func (s *subject) Equal(other ref.Val) ref.Val {
	o, ok := other.(*subject)
	return types.Bool(ok && o.v == s.v)
}

// Type is the object type.
func (s *subject) Type() ref.Type { return s.v.typ }

// Value is the subject itself: that is what fields are read from.
func (s *subject) Value() any { return s }

// Get reads a field where the type was not known when the expression was
// compiled, as in dyn(caller).id.
func (s *subject) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	f := s.v.field(string(name))
	if f == nil {
		return types.NewErr("no such key: %s", string(name))
	}
	return types.DefaultTypeAdapter.NativeToValue(f.read(s.a))
}

// IsSet reports whether there is such a field and it is not empty.
func (s *subject) IsSet(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	f := s.v.field(string(name))
	return types.Bool(f != nil && f.set(s.a))
}

var (
	_ traits.Indexer             = (*subject)(nil)
	_ traits.FieldTester         = (*subject)(nil)
	_ types.StructTypeDescriptor = (*variable)(nil)
	_ ref.Type                   = (*variable)(nil)
)

// An activation binds the variables to one exchange. What costs something to
// build is built when it is asked for.
type activation struct {
	x        *airside.Exchange
	subjects [5]subject // of variables, in their order
	answer   Answer     // zero unless the expression is run after it
	replied  mapping    // of *replied
	headers  mapping    // of *headers
	query    mapping    // of *query
	params   query
	none     map[string]any // claims of a caller without
	err      error          // the client's fault, found on the way; it wins over the result
}

var activations = sync.Pool{New: func() any {
	a := &activation{none: map[string]any{}}
	for i, v := range variables {
		a.subjects[i] = subject{a: a, v: v}
	}
	a.params.a = a
	a.headers.of, a.query.of, a.replied.of = &headers{a}, &a.params, &replied{a}
	return a
}}

func acquire(x *airside.Exchange) *activation {
	a, _ := activations.Get().(*activation)
	a.x = x
	return a
}

func (a *activation) release() {
	a.x, a.err, a.answer = nil, nil, Answer{}
	a.params.reset()
	activations.Put(a)
}

// ResolveName finds a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	for i := range a.subjects {
		if a.subjects[i].v.name == name {
			return &a.subjects[i], true
		}
	}
	if name == took {
		return types.Duration{Duration: a.answer.Took}, true
	}
	return nil, false
}

// Parent is nil: there is no outer scope.
func (a *activation) Parent() interpreter.Activation { return nil }

// claims is never a nil map: a missing claim is a missing key.
func (a *activation) claims() map[string]any {
	if a.x.Caller.Claims == nil {
		return a.none
	}
	return a.x.Caller.Claims
}

// fail keeps the first fault of the client.
func (a *activation) fail(err *airside.Error) {
	if a.err == nil {
		a.err = err
	}
}
