package config

import (
	"encoding"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// decimal is how whole numbers are written. Zeros in front are refused, since
// 010 is eight to some programs and ten to others.
var decimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)

// expected phrases that n is something else than what is wanted. The hint, which
// may quote n, is left out where n is not to be shown.
func (d *decoder) expected(n *node, what, hint string) bool {
	switch {
	case hint != "" && n.secret && what == "text":
		hint = " (put it in quotes)"
	case n.ref || n.secret:
		hint = ""
	}
	return d.fail(n, "expected "+what+", found "+n.found()+hint)
}

// special brings a scalar into a type that has a form of its own.
func (d *decoder) special(n *node, v reflect.Value) (done, ok bool) {
	switch x := v.Addr().Interface().(type) {
	case *time.Duration:
		return true, d.duration(n, x)
	case *airside.Size:
		return true, d.size(n, x)
	case *airside.Secret:
		if d.mark {
			n.secret = true
		}
		if n.kind != text {
			return true, d.expected(n, "text", quotes(n))
		}
		*x = airside.Secret(n.text)
		return true, true
	case *airside.Later: // an element of a list or map of them
		return true, d.fail(n, "this "+Later)
	}
	return false, false
}

func (d *decoder) duration(n *node, x *time.Duration) bool {
	const what = "a duration such as 300ms"
	switch {
	case n.kind == whole && n.text == "0":
		*x = 0
		return true
	case n.kind == whole || n.kind == float:
		return d.expected(n, what, fmt.Sprintf(" (which unit? write %ss or %sms)", n.text, n.text))
	case n.kind != text:
		return d.expected(n, what, "")
	}
	t, err := time.ParseDuration(n.text)
	if err == nil && t >= 0 && n.text[0] != '+' {
		*x = t
		return true
	}
	if days, ok := strings.CutSuffix(n.text, "d"); ok {
		if i, err := strconv.Atoi(days); err == nil && i > 0 && i < 100_000 {
			return d.expected(n, what, fmt.Sprintf(" (write %dh)", i*24))
		}
	}
	return d.expected(n, what, "")
}

func (d *decoder) size(n *node, x *airside.Size) bool {
	wrong := n.kind != text && n.kind != whole || n.kind == whole && !decimal.MatchString(n.text)
	if wrong || x.UnmarshalText([]byte(n.text)) != nil {
		return d.expected(n, "a size such as 64KiB or 10MiB", "")
	}
	return true
}

// unmarshal brings a scalar into a type that reads text.
func (d *decoder) unmarshal(n *node, v reflect.Value) bool {
	x, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	if !ok {
		return d.fail(n, unsupported(v.Type()).Error())
	}
	if err := x.UnmarshalText([]byte(n.text)); err != nil {
		d.add(d.doc.locate(n, err)...)
		return false
	}
	if p, ok := x.(placed); ok {
		p.place(d.doc, n)
	}
	return true
}

// scalar brings a scalar into a value of a basic kind.
func (d *decoder) scalar(n *node, v reflect.Value, f *setting) bool {
	//nolint:exhaustive // the others are reported
	switch v.Kind() {
	case reflect.String:
		return d.string(n, v, f)
	case reflect.Bool:
		return d.bool(n, v)
	case reflect.Float32, reflect.Float64:
		return d.float(n, v)
	}
	if integer(v.Type()) {
		return d.whole(n, v)
	}
	return d.fail(n, unsupported(v.Type()).Error())
}

func unsupported(t reflect.Type) error { return fmt.Errorf("settings of type %s are not supported", t) }

// integer reports whether t is a type of whole numbers.
func integer(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64
}

func (d *decoder) string(n *node, v reflect.Value, f *setting) bool {
	if f != nil && len(f.enum) > 0 {
		if n.kind == text && slices.Contains(f.enum, n.text) {
			v.SetString(n.text)
			return true
		}
		return d.expected(n, oneOf(f.enum), d.hintEnum(n, f.enum))
	}
	if n.kind != text {
		return d.expected(n, "text", quotes(n))
	}
	s := n.text
	if f != nil && f.path && s != "" && !filepath.IsAbs(s) {
		s = filepath.Join(d.doc.dir, s)
	}
	v.SetString(s)
	return true
}

func (d *decoder) hintEnum(n *node, enum []string) string {
	switch {
	case n.kind == text && !n.ref && !n.secret:
		if near := d.nearest(n.text, enum); near != "" {
			return fmt.Sprintf(" (did you mean %q?)", near)
		}
	case slices.Contains(enum, n.text):
		return quotes(n)
	}
	return ""
}

// quotes says how text is written that looks like something else.
func quotes(n *node) string {
	switch n.kind {
	case whole, float, boolean:
		if len(n.text) <= 60 {
			return fmt.Sprintf(" (write %q)", n.text)
		}
	case null, text, list, mapping:
	}
	return ""
}

func oneOf(enum []string) string {
	if len(enum) == 1 {
		return strconv.Quote(enum[0])
	}
	return "one of " + strings.Join(enum, ", ")
}

func (d *decoder) bool(n *node, v reflect.Value) bool {
	if n.kind == boolean || n.ref {
		switch n.text {
		case "true", "True", "TRUE":
			v.SetBool(true)
			return true
		case "false", "False", "FALSE":
			v.SetBool(false)
			return true
		}
	}
	hint := ""
	switch strings.ToLower(n.text) {
	case "true", "false":
		hint = " (leave out the quotes)"
	case "yes", "on", "y":
		hint = " (write true)"
	case "no", "off", "n":
		hint = " (write false)"
	}
	return d.expected(n, "true or false", hint)
}

func (d *decoder) whole(n *node, v reflect.Value) bool {
	ok := (n.kind == whole || n.kind == text && n.ref) && decimal.MatchString(n.text)
	if ok && v.CanInt() {
		i, err := strconv.ParseInt(n.text, 10, v.Type().Bits())
		v.SetInt(i)
		ok = err == nil
	} else if ok {
		u, err := strconv.ParseUint(strings.TrimPrefix(n.text, "+"), 10, v.Type().Bits())
		v.SetUint(u)
		ok = err == nil
	}
	if ok {
		return true
	}
	hint := ""
	switch {
	case n.kind == text && decimal.MatchString(n.text):
		hint = " (leave out the quotes)"
	case n.kind == whole && !decimal.MatchString(n.text):
		hint = " (write it in decimal, without zeros in front)"
	case n.kind == text && !n.ref && !n.secret:
		if p, ok := strings.CutSuffix(n.text, "%"); ok && decimal.MatchString(p) {
			hint = fmt.Sprintf(" (write %s)", p)
		}
	}
	return d.expected(n, wholeRange(v.Type()), hint)
}

// wholeRange phrases what whole numbers fit into t.
func wholeRange(t reflect.Type) string {
	low, high := bounded(t)
	switch {
	case low == math.MinInt64:
		return "a whole number"
	case high == math.MaxUint64:
		return "a whole number from 0"
	}
	return fmt.Sprintf("a whole number from %d to %d", low, high)
}

// bounded returns the bounds of an integer type.
func bounded(t reflect.Type) (low int64, high uint64) {
	bits := t.Bits()
	//nolint:exhaustive // only integers come here
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return -1 << (bits - 1), 1<<(bits-1) - 1
	}
	return 0, math.MaxUint64 >> (64 - bits)
}

func (d *decoder) float(n *node, v reflect.Value) bool {
	if n.kind == whole || n.kind == float || n.kind == text && n.ref {
		f, ok := realNumber(n.text)
		if ok && !v.OverflowFloat(f) {
			v.SetFloat(f)
			return true
		}
	}
	hint := ""
	if _, ok := realNumber(n.text); ok && n.kind == text {
		hint = " (leave out the quotes)"
	}
	if p, ok := strings.CutSuffix(n.text, "%"); ok && n.kind == text && !n.ref && !n.secret {
		if f, ok := realNumber(p); ok {
			hint = " (write " + strconv.FormatFloat(f/100, 'g', 6, 64) + ")"
		}
	}
	return d.expected(n, "a number", hint)
}

var realForm = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)

// realNumber reads a finite number in decimal.
func realNumber(s string) (float64, bool) {
	if !realForm.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
