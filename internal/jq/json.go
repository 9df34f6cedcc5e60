package jq

import (
	"bytes"
	"encoding/json"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxDepth bounds how deep arrays and objects nest in what [Decode] reads.
	MaxDepth = 128

	// MaxOutput bounds what [Encode] writes, in bytes.
	MaxOutput = 16 << 20

	maxNumber      = 1024 // bytes of a number's text
	maxOutputDepth = 2 * MaxDepth
)

// A SyntaxError says why a text was refused as JSON, and where, but nothing of
// what it holds.
type SyntaxError struct {
	Offset int64  // bytes before the place where it was noticed
	Reason string // such as "a name stands twice in an object"

	// Refused says that others read the text as JSON: it breaks a rule of ours
	// (names are unique, text is Unicode, depth and numbers are bounded), and not
	// the grammar.
	Refused bool
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s, at byte %d", e.Reason, e.Offset) }

// Errors of [Encode].
var (
	ErrOutput  = errors.New("jq: the result is too large")
	ErrDeep    = errors.New("jq: the result nests too deep")
	ErrNumber  = errors.New("jq: the result holds a number that is not finite")
	ErrUnicode = errors.New("jq: the result holds text that is not UTF-8")
)

// Decode reads a JSON text, RFC 8259, as a filter takes it: nil, bool, string,
// []any, map[string]any, int, or [json.Number] where an int would not keep the
// text of the number. It fails with a [*SyntaxError] if the text is not JSON, is
// not UTF-8, names a member twice, nests deeper than [MaxDepth], holds a number
// of more than 1,024 bytes, or is followed by something.
func Decode(b []byte) (any, error) { return DecodeDepth(b, MaxDepth) }

// DecodeDepth is [Decode] with another bound for the depth, at most 10,000.
func DecodeDepth(b []byte, depth int) (any, error) {
	d := decoder{
		json: jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true)), // we look ourselves
		left: depth,
	}
	v, err := d.value()
	if err == nil {
		err = d.end()
	}
	if err == nil {
		return v, nil
	}
	if e, ok := errors.AsType[*SyntaxError](err); ok {
		return nil, e
	}
	return nil, d.malformed(b, err)
}

type decoder struct {
	json *jsontext.Decoder
	left int // how much deeper it may get
}

func (d *decoder) value() (any, error) {
	t, err := d.json.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case 't', 'f':
		return t.Bool(), nil
	case '"':
		return t.String(), nil
	case '0':
		return d.number(t.String())
	case '[':
		return nested(d, d.array)
	case '{':
		return nested(d, d.object)
	default:
		return nil, nil
	}
}

func nested[T any](d *decoder, read func() (T, error)) (any, error) {
	if d.left == 0 {
		return nil, d.refused("it nests too deep")
	}
	d.left--
	v, err := read()
	d.left++
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (d *decoder) array() ([]any, error) {
	a := []any{}
	for d.json.PeekKind() != ']' {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := d.json.ReadToken()
	return a, err
}

func (d *decoder) object() (map[string]any, error) {
	m := map[string]any{}
	for d.json.PeekKind() != '}' {
		t, err := d.json.ReadToken()
		if err != nil {
			return nil, err
		}
		name := t.String()
		if _, twice := m[name]; twice {
			return nil, d.refused("a name stands twice in an object")
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		m[name] = v
	}
	_, err := d.json.ReadToken()
	return m, err
}

// number is an int if that is written as s again.
func (d *decoder) number(s string) (any, error) {
	if len(s) > maxNumber {
		return nil, d.refused("a number is too long")
	}
	if strings.ContainsAny(s, ".eE") || s == "-0" {
		return json.Number(s), nil
	}
	if i, err := strconv.Atoi(s); err == nil {
		return i, nil
	}
	return json.Number(s), nil
}

func (d *decoder) end() error {
	at := d.json.InputOffset()
	_, err := d.json.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return &SyntaxError{Offset: at, Reason: "something follows the JSON value"}
}

func (d *decoder) refused(reason string) error {
	return &SyntaxError{Offset: d.json.InputOffset(), Reason: reason, Refused: true}
}

// malformed makes an error of jsontext one of ours. Its own text quotes b.
func (d *decoder) malformed(b []byte, err error) error {
	e := &SyntaxError{Offset: d.json.InputOffset(), Reason: "it is not valid JSON"}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Offset = s.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Offset, e.Reason = int64(len(b)), "it ends too early"
	case jsontext.Value(b).IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)):
		e.Reason, e.Refused = "it holds text that is not Unicode", true
	}
	return e
}

// Encode writes v, a result or a value of [Decode], as JSON: compact, members
// sorted by name. It fails if the text would be larger than [MaxOutput], and with
// what cannot be written: [ErrNumber], [ErrUnicode], [ErrDeep] beyond a depth of
// 256.
func Encode(v any) ([]byte, error) { return EncodeMax(v, MaxOutput) }

// EncodeMax is [Encode] with another bound, in bytes. It fails with [ErrOutput].
func EncodeMax(v any, most int) ([]byte, error) {
	b, err := encode(nil, v, most, maxOutputDepth)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func encode(dst []byte, v any, most, depth int) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		dst = append(dst, "null"...)
	case bool:
		dst = strconv.AppendBool(dst, v)
	case int:
		dst = strconv.AppendInt(dst, int64(v), 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, ErrNumber
		}
		dst = jsontext.AppendFloat(dst, v, 64)
	case *big.Int:
		dst = v.Append(dst, 10)
	case json.Number:
		dst = append(dst, v...)
	case string:
		dst, err = encodeString(dst, v, most)
	case []any:
		dst, err = encodeArray(dst, v, most, depth-1)
	case map[string]any:
		dst, err = encodeObject(dst, v, most, depth-1)
	default:
		return nil, fmt.Errorf("jq: a %T is no value of JSON", v)
	}
	if err == nil && len(dst) > most {
		return nil, ErrOutput
	}
	return dst, err
}

func encodeString(dst []byte, s string, most int) ([]byte, error) {
	if len(s) > most { // before it is copied
		return nil, ErrOutput
	}
	dst, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		return nil, ErrUnicode
	}
	return dst, nil
}

func encodeArray(dst []byte, a []any, most, depth int) ([]byte, error) {
	if depth < 0 {
		return nil, ErrDeep
	}
	dst = append(dst, '[')
	for i, v := range a {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = encode(dst, v, most, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func encodeObject(dst []byte, m map[string]any, most, depth int) ([]byte, error) {
	if depth < 0 {
		return nil, ErrDeep
	}
	dst = append(dst, '{')
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = encodeString(dst, name, most); err != nil {
			return nil, err
		}
		if dst, err = encode(append(dst, ':'), m[name], most, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// Value makes v, of any type that [json.Marshal] takes, a value for a filter. It
// copies what can be changed.
func Value(v any) (any, error) { return value(v, MaxDepth) }

func value(v any, depth int) (any, error) {
	if depth < 0 {
		return nil, ErrDeep
	}
	switch v := v.(type) {
	case nil, bool, int:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, ErrUnicode
		}
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, ErrNumber
		}
		return v, nil
	case []any:
		a := make([]any, len(v))
		for i := range v {
			var err error
			if a[i], err = value(v[i], depth-1); err != nil {
				return nil, err
			}
		}
		return a, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for name := range v {
			var err error
			if m[name], err = value(v[name], depth-1); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("jq: a %T is no value of JSON: %w", v, err)
	}
	return DecodeDepth(b, depth)
}
