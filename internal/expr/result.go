package expr

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// text writes a scalar.
func text(v ref.Val) (string, bool) {
	switch v := v.(type) {
	case types.String:
		return string(v), true
	case types.Bool:
		return strconv.FormatBool(bool(v)), true
	case types.Int:
		return strconv.FormatInt(int64(v), 10), true
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), true
	case types.Double:
		return number(float64(v))
	}
	return "", false
}

// number writes a whole number without exponent, since JSON makes every number
// of a token a double.
func number(f float64) (string, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "", false
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10), true
	}
	return strconv.FormatFloat(f, 'g', -1, 64), true
}

// plain makes a value of Go's out of one of CEL's.
func plain(v ref.Val, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		return string(v), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case types.Timestamp, types.Duration:
		if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
			return string(s), nil
		}
	case traits.Mapper:
		return plainMap(v, depth)
	case traits.Lister:
		return plainList(v, depth)
	}
	return nil, fmt.Errorf("%s is not a value that JSON knows", typeName(v.Type()))
}

func plainMap(m traits.Mapper, depth int) (any, error) {
	out := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := text(key)
		if !ok {
			return nil, fmt.Errorf("%s cannot be the key of a map", typeName(key.Type()))
		}
		v, err := plain(m.Get(key), depth+1)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func plainList(l traits.Lister, depth int) (any, error) {
	out := []any{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		v, err := plain(it.Next(), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// typeName is the name of a type in messages, with its article.
func typeName(t ref.Type) string {
	c, ok := t.(*types.Type)
	if !ok {
		return t.TypeName()
	}
	switch c.Kind() {
	case types.StringKind:
		return "a string"
	case types.BoolKind:
		return "a bool"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "a map"
	case types.NullTypeKind:
		return "null"
	case types.StructKind:
		for _, v := range variables {
			if v.typ == c {
				return "the whole of " + v.name + " and not one of its fields"
			}
		}
	case types.OpaqueKind:
		if c.TypeName() == types.OptionalType.TypeName() {
			return "an optional value without .orValue(...)"
		}
	}
	return "a " + c.TypeName()
}
