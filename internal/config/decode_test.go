package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// part is the one policy of a file that uses it in place.
func part(t *testing.T, settings string) (Part, error) {
	t.Helper()
	c, err := Parse(testFile, []byte("routes:\n- use:\n  - "+settings+"\n"), testLookup(), nil)
	if err != nil {
		return Part{}, err
	}
	return c.Routes[0].Use[0], nil
}

// decoded decodes settings, given as {kind: settings}, into a C.
func decoded[C any](t *testing.T, settings string) C {
	t.Helper()
	p, err := part(t, settings)
	if err != nil {
		t.Fatal(err)
	}
	var c C
	if err := p.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// Every type of setting is decoded.
func TestEverything(t *testing.T) {
	got := decoded[everything](t, `everything:
      text: "007"
      flag: TRUE
      int: -5
      small: +127
      unsigned: 65535
      float: 1e3
      wait: 1h30m
      size: 2KiB
      secret: s
      secrets: [a, b]
      addr: ::1
      any: [1, -2, 3.5, true, ~, no, { a: 1e400text }, 99999999999999999999, 1., 2024-01-01]
      strings: { one: x, two: [y, z], none: [] }
      nested: { a: http://a:1, b: { url: http://b:1, weight: 9 } }
      pointer: 7
      deep: { inner: { on: 503 } }
      mode: two`)
	seven := 7
	want := everything{
		Text: "007", Flag: true, Int: -5, Small: 127, Unsigned: 65535, Float: 1000, Wait: 90 * time.Minute, Size: 2048,
		Secret: "s", Secrets: []airside.Secret{"a", "b"}, Addr: netip.IPv6Loopback(),
		Any:     []any{1, -2, 3.5, true, nil, "no", map[string]any{"a": "1e400text"}, 1e20, 1.0, "2024-01-01"},
		Strings: map[string][]string{"one": {"x"}, "two": {"y", "z"}, "none": {}},
		Nested:  map[string]endpoint{"a": {"http://a:1", 1}, "b": {"http://b:1", 9}},
		Pointer: &seven, Mode: "two",
	}
	want.Deep.Inner = retry{On: []int{503}, Attempts: 2}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b airside.Secret) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// Values of references are text, and numbers where numbers are wanted.
func TestReferenceTypes(t *testing.T) {
	got := decoded[everything](t, `everything:
      text: "${env:PORT}"
      flag: ${env:ON}
      int: ${env:PORT}
      float: 0.${env:PORT}
      wait: "${env:WAIT}"
      size: "${env:PORT}"
      any: [ "${env:PORT}", "${env:NONE:-[a, b]}", "$${env:PORT}", "${env:EMPTY}", "${env:EMPTY:-x}", "a$${b}${env:ON}c" ]`)
	want := everything{
		Text: "9000", Flag: true, Int: 9000, Float: 0.9, Wait: 20 * time.Second, Size: 9000,
		Any: []any{"9000", "[a, b]", "${env:PORT}", "", "x", "a${b}truec"},
	}
	want.Deep.Inner.Attempts = 2
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// Defaults hold for what is not written, and lists that are written replace them.
func TestSettingsDefaults(t *testing.T) {
	for _, x := range []struct {
		text string
		want cors
	}{
		{"cors:", cors{Origins: []string{"*"}}},
		{"cors: {}", cors{Origins: []string{"*"}}},
		{"cors: { max_age: 0 }", cors{Origins: []string{"*"}}},
		{"cors: { origins: a }", cors{Origins: []string{"a"}}},
		{"cors: { origins: [] }", cors{Origins: []string{}}},
	} {
		if diff := cmp.Diff(x.want, decoded[cors](t, x.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.text, diff)
		}
	}
	if got := decoded[headers](t, "headers: { set: { A: b } }"); got.Direction != "request" {
		t.Errorf("the default of an embedded struct is %q", got.Direction)
	}
	if got := decoded[headers](t, "headers: { in: response }"); got.Direction != "response" {
		t.Errorf("the setting of an embedded struct is %q", got.Direction)
	}
	if got := decoded[string](t, "note:"); got != "" {
		t.Errorf("a note of nothing is %q", got)
	}
}

// outer and inner prove in which order Defaults and Validate run.
type outer struct {
	Embedded

	Inner  inner             `yaml:"inner"`
	List   []inner           `yaml:"list,single"`
	Ptr    *inner            `yaml:"ptr"`
	Map    map[string]inner  `yaml:"map"`
	Strict map[string]string `yaml:"strict" enum:"a,b"`
	calls  []string
}

// Embedded lends its settings and its methods.
type Embedded struct {
	Middle int `yaml:"middle"`
}

type inner struct {
	A int `yaml:"a"`
	B int `yaml:"b"`
}

func (m *Embedded) Defaults() { m.Middle = 5 }

func (m *Embedded) Validate() error {
	if m.Middle == 13 {
		return airside.FieldErrorf("middle", "is unlucky")
	}
	return nil
}

func (i *inner) Defaults() { i.A, i.B = 1, 1 }

func (i *inner) Validate() error {
	if i.A > i.B {
		return errors.Join(airside.FieldErrorf("a", "must not be more than b"), errors.New("what is this"))
	}
	return nil
}

func (o *outer) Defaults() {
	o.Inner.B = 2
	o.Ptr = &inner{A: 7, B: 7}
	o.calls = append(o.calls, "defaults")
}

func (o *outer) Validate() error {
	o.calls = append(o.calls, "validate")
	if o.Inner.A == 2 {
		return fmt.Errorf("checking: %w", &airside.FieldError{Field: "inner", Err: airside.FieldErrorf("a", "is two")})
	}
	return nil
}

// decodeText decodes text, which is no whole configuration.
func decodeText(t *testing.T, text string, v any) error {
	t.Helper()
	d := &decoder{doc: &document{name: testFile, text: []byte(text)}}
	if !d.read(testLookup()) || len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	return Part{doc: d.doc, settings: &d.doc.root}.Decode(v)
}

func TestOrder(t *testing.T) {
	var got outer
	if err := decodeText(t, "inner: { a: 2, b: 3 }\nlist: { b: 8 }\nptr: { a: 6 }\nmap: { x: {} }\nstrict: { x: a }\n", &got); err == nil {
		t.Fatal("a is two, and nobody minds")
	} else if got, want := err.Error(), "airside.yaml:1:13: checking: inner: a: is two"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	want := outer{
		Embedded: Embedded{5}, Inner: inner{2, 3}, List: []inner{{1, 8}}, Ptr: &inner{6, 7}, Map: map[string]inner{"x": {1, 1}},
		Strict: map[string]string{"x": "a"}, calls: []string{"defaults", "validate"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outer{})); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// Validate of what holds a wrong type does not run, and of what embeds runs once.
func TestValidateSkipped(t *testing.T) {
	var got outer
	err := decodeText(t, "inner: { a: 9, b: x }\nlist: [{ a: 5 }, { a: 0 }, 7]\nmiddle: 13\nstrict: { x: c }\n", &got)
	want := strings.TrimSpace(`
airside.yaml:1:19: expected a whole number, found "x"
airside.yaml:2:8: what is this
airside.yaml:2:13: a: must not be more than b
airside.yaml:2:28: expected a mapping, found the number 7 (its keys: a, b)
airside.yaml:4:14: expected one of a, b, found "c"`)
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	err = decodeText(t, "middle: 13", &got)
	if want := "airside.yaml:1:9: middle: is unlucky"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// An error of building a part finds its place by the path of its field.
func TestLocate(t *testing.T) {
	p, err := part(t, `everything:
      strings: { a.b: x, a: [y, z], "c[0]": w }
      deep: { inner: { on: 503 } }
      wait: "${env:WAIT}"
      secret: barracuda`)
	if err != nil {
		t.Fatal(err)
	}
	plain := errors.New("does not work")
	for _, x := range []struct {
		err  error
		want string
	}{
		{plain, "airside.yaml:4:7: does not work"},
		{airside.FieldErrorf("wait", "is wrong"), "airside.yaml:6:13: wait: is wrong"},
		{airside.FieldErrorf("wait", "20s is wrong"), "airside.yaml:6:13: wait: the value of ${env:WAIT} is not valid here (the reason is not shown, since it quotes the value)"},
		{airside.FieldErrorf("wait", "BARRACUDA is wrong"), "airside.yaml:6:13: wait: a secret value is not valid here (the reason is not shown, since it quotes the value)"},
		{airside.FieldErrorf("deep.inner.on[0]", "is wrong"), "airside.yaml:5:28: deep.inner.on[0]: is wrong"},
		{airside.FieldErrorf("deep.inner.attempts", "is wrong"), "airside.yaml:5:22: deep.inner.attempts: is wrong"},
		{airside.FieldErrorf("strings.a.b", "is wrong"), "airside.yaml:4:23: strings.a.b: is wrong"},
		{airside.FieldErrorf("strings.a[1]", "is wrong"), "airside.yaml:4:33: strings.a[1]: is wrong"},
		{airside.FieldErrorf("strings.c[0]", "is wrong"), "airside.yaml:4:45: strings.c[0]: is wrong"},
		{airside.FieldErrorf("nothing.of[this]", "is wrong"), "airside.yaml:4:7: nothing.of[this]: is wrong"},
		{airside.FieldErrorf("", "is wrong"), "airside.yaml:4:7: is wrong"},
		{fmt.Errorf("two: %w, %w", plain, plain), "airside.yaml:4:7: two: does not work, does not work"},
		{fmt.Errorf("building: %w", airside.FieldErrorf("wait", "x")), "airside.yaml:6:13: building: wait: x"},
		{&airside.FieldError{Field: "deep", Err: errors.Join(airside.FieldErrorf("inner", "x"), plain)}, "airside.yaml:5:13: deep: does not work\nairside.yaml:5:22: deep.inner: x"},
		{fmt.Errorf("building: %w", Problems{{Position{"other.yaml", 1, 1}, "x"}}), "other.yaml:1:1: x"},
		{errors.Join(airside.FieldErrorf("text", "a\nb"), Problems{{Position{"other.yaml", 1, 1}, "x"}}), "airside.yaml:4:7: text: a b\nother.yaml:1:1: x"},
	} {
		if got := p.Locate(x.err).Error(); got != x.want {
			t.Errorf("%q is located as\n%s\nwant\n%s", x.err, got, x.want)
		}
	}
	if got := p.Locate(nil); got != nil {
		t.Errorf("no error is located as %v", got)
	}
}

// A route's error finds its place, too, and shows no reference.
func TestLocateRoute(t *testing.T) {
	c := parse(t, "routes:\n  - { path: \"/${env:KEY}\", to: http://a:1 }\n")
	r := &c.Routes[0]
	for _, x := range []struct{ message, want string }{
		{"must begin with /", "airside.yaml:2:13: path: must begin with /"},
		{`"/sk-live-51Hx" is odd`, "airside.yaml:2:13: path: the value of ${env:KEY} is not valid here (the reason is not shown, since it quotes the value)"},
	} {
		if got := r.Locate(airside.FieldErrorf("path", "%s", x.message)).Error(); got != x.want {
			t.Errorf("got %s, want %s", got, x.want)
		}
	}
}

// Types that settings cannot have are reported, by the decoder and the schema.
func TestUnsupportedTypes(t *testing.T) {
	var odd struct {
		A chan int       `yaml:"a"`
		B map[int]string `yaml:"b"`
		C fmt.Stringer   `yaml:"c"`
		D []func()       `yaml:"d"`
		E [2]int         `yaml:"e"`
	}
	err := decodeText(t, "a: 1\nb: {}\nc: x\nd: [x]\ne: [1, 2]\n", &odd)
	want := strings.TrimSpace(`
airside.yaml:1:4: settings of type chan int are not supported
airside.yaml:2:4: settings of type map[int]string are not supported
airside.yaml:3:4: settings of type fmt.Stringer are not supported
airside.yaml:4:5: settings of type func() are not supported
airside.yaml:5:4: settings of type [2]int are not supported`)
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	s := newSchemas(nil)
	s.form(reflect.TypeOf(odd))
	want = regexp.MustCompile(`(?m)^\S+ `).ReplaceAllString(want, "")
	if s.err == nil || s.err.Error() != want {
		t.Errorf("error of the schema\n%v\nwant\n%s", s.err, want)
	}
}

// Decode says when it cannot decode.
func TestDecodeMisuse(t *testing.T) {
	c := parse(t, "policies: { p: { cors: {} } }\nroutes: [{ use: [p, { ratelimit: { limit: 1 } }] }]\n")
	var s cors
	for _, x := range []struct {
		part Part
		v    any
		want string
	}{
		{c.Routes[0].Use[0], &s, `airside.yaml:2:18: "p" is a name: it has no settings of its own`},
		{c.Routes[0].Use[1], s, `settings cannot be decoded into config.cors`},
		{c.Routes[0].Use[1], nil, `settings cannot be decoded into <nil>`},
		{c.Routes[0].Use[1], &s, `airside.yaml:2:36: unknown key "limit" (possible here: origins, max_age)`},
	} {
		if err := x.part.Decode(x.v); err == nil || err.Error() != x.want {
			t.Errorf("error %v, want %s", err, x.want)
		}
	}
}

// Parts of one file may be decoded at the same time.
func TestDecodeAtOnce(t *testing.T) {
	p, err := part(t, "everything: { secret: x, secrets: [y], any: [1, { a: b }], deep: { inner: { on: 503 } } }")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var e everything
			if err := p.Decode(&e); err != nil || e.Secret != "x" {
				t.Error(err)
			}
			_ = p.Locate(errors.New("x"))
		})
	}
	all.Wait()
}
