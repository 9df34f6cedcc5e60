package expr

import (
	"maps"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/airside-gateway/airside"
)

// A mapping is a CEL map of strings whose entries are looked up where they lie,
// instead of being copied for every evaluation.
type mapping struct{ of entries }

type entries interface {
	find(name string) (value string, ok bool)
	names() []string // sorted
}

var _ traits.Mapper = (*mapping)(nil)

// FindStringKey is what CEL asks for a constant key.
func (m *mapping) FindStringKey(name string) (any, bool) {
	v, ok := m.of.find(name)
	if !ok {
		return nil, false
	}
	return types.String(v), true
}

// Find looks a key up.
func (m *mapping) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := m.of.find(string(name))
	if !ok {
		return nil, false
	}
	return types.String(v), true
}

// Get looks a key up that must be there.
func (m *mapping) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", key.Value())
}

// Contains reports whether there is such a key.
func (m *mapping) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// Size is the number of keys.
func (m *mapping) Size() ref.Val { return types.Int(len(m.of.names())) }

// Iterator goes over the keys in order.
func (m *mapping) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.of.names()).Iterator()
}

// copied is the map as CEL's own, for what is rare.
func (m *mapping) copied() traits.Mapper {
	all := map[string]string{}
	for _, name := range m.of.names() {
		if v, ok := m.of.find(name); ok {
			all[name] = v
		}
	}
	return types.NewStringStringMap(types.DefaultTypeAdapter, all)
}

// ConvertToNative is that of a copy.
func (m *mapping) ConvertToNative(t reflect.Type) (any, error) { return m.copied().ConvertToNative(t) }

// ConvertToType is that of a copy.
func (m *mapping) ConvertToType(t ref.Type) ref.Val { return m.copied().ConvertToType(t) }

// Equal compares entry by entry.
func (m *mapping) Equal(other ref.Val) ref.Val { return m.copied().Equal(other) }

// Type is a map.
func (m *mapping) Type() ref.Type { return types.MapType }

// Value is a map[string]string.
func (m *mapping) Value() any { return m.copied().Value() }

// headers are the entries of request.headers.
type headers struct{ a *activation }

func (h *headers) find(name string) (string, bool) {
	return headerLine(h.a.x.Request.Header, textproto.CanonicalMIMEHeaderKey(name))
}

func (h *headers) names() []string { return headerNames(h.a.x.Request.Header) }

// A query holds the entries of request.query, read when first asked for.
type query struct {
	a      *activation
	parsed bool
	params map[string]parameter
}

type parameter struct {
	value string
	twice bool
}

// maxKept is the size up to which a map is worth keeping for the next exchange.
const maxKept = 64

func (q *query) reset() {
	q.parsed = false
	if len(q.params) > maxKept {
		q.params = nil
	}
	clear(q.params)
}

func (q *query) find(name string) (string, bool) {
	q.parse()
	p, ok := q.params[name]
	if p.twice {
		q.a.fail(airside.Errorf(airside.Invalid, "the query parameter %q is given more than once", name))
	}
	return p.value, ok
}

func (q *query) names() []string {
	q.parse()
	return slices.Sorted(maps.Keys(q.params))
}

func (q *query) parse() {
	if q.parsed {
		return
	}
	q.parsed = true
	rest := q.a.x.Request.URL.RawQuery
	if rest != "" && q.params == nil {
		q.params = map[string]parameter{}
	}
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil || strings.Contains(pair, ";") {
			q.a.fail(airside.Errorf(airside.Invalid, "the query cannot be decoded: write %%25 for a percent sign and %%3B for a semicolon"))
			return
		}
		_, again := q.params[key]
		q.params[key] = parameter{value: value, twice: again}
	}
}
