package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A settings is a struct that a file can hold, or a type that stands for one.
type settings struct {
	typ   *named // nil for a type without a name, such as a list of strings
	label string // what is written in the file
	rows  []row
}

// A row is one key.
type row struct {
	path     string // "retry.on", "servers[].url"
	label    string
	required bool
	later    bool
	fallback string // the default; empty where nothing states one
	text     string // the whole doc comment
	short    string // the same without the sentence about the default

	owner *named // the struct, and its field, for the JSON Schema
	field string
}

// A walk collects the rows of a type.
type walk struct {
	m     *mod
	rows  []row
	stack []*named // against types that hold themselves
	err   error
}

// settings describes the type that e names in f.
func (m *mod) settings(f *file, e ast.Expr) (*settings, error) {
	w := &walk{m: m}
	label := w.typ(f, e, "")
	return &settings{typ: m.resolve(f, e), label: label, rows: w.rows}, w.err
}

// resolve finds the declaration of a named type of the module.
func (m *mod) resolve(f *file, e ast.Expr) *named {
	var n *named
	switch e := e.(type) {
	case *ast.Ident:
		n = f.pkg.types[e.Name]
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		if !ok || m.pkgs[f.imports[x.Name]] == nil {
			return nil
		}
		n = m.pkgs[f.imports[x.Name]].types[e.Sel.Name]
	case *ast.StarExpr:
		return m.resolve(f, e.X)
	}
	if n == nil || n.expr == nil {
		return nil
	}
	return n
}

// typ says how a value of the type e is written, and adds the rows of the
// structs in it below path.
func (w *walk) typ(f *file, e ast.Expr, path string) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return w.typ(f, e.X, path)
	case *ast.ArrayType:
		return "list of " + plural(w.typ(f, e.Elt, path+"[]"))
	case *ast.MapType:
		return "mapping of names to " + plural(w.typ(f, e.Value, join(path, "<name>")))
	case *ast.StructType:
		w.fields(f, &named{file: f}, e, path)
		return "mapping"
	case *ast.SelectorExpr:
		if label := w.m.known(f, e); label != "" {
			return label
		}
	case *ast.Ident:
		if label := basic(e.Name); label != "" && f.pkg.types[e.Name] == nil {
			return label
		}
		if w.m.path == f.pkg.path {
			if label := airsideType(e.Name); label != "" {
				return label
			}
		}
	}
	if n := w.m.resolve(f, e); n != nil {
		return w.named(n, path)
	}
	return "any"
}

func (w *walk) named(n *named, path string) string {
	if slices.Contains(w.stack, n) {
		return "mapping, as above"
	}
	w.stack = append(w.stack, n)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	st, isStruct := n.expr.(*ast.StructType)
	if n.methods["UnmarshalText"] != nil {
		if !isStruct || !w.fields(n.file, n, st, path) {
			return "string"
		}
		return "string or mapping"
	}
	if isStruct {
		if !w.fields(n.file, n, st, path) && n.file.pkg.path == w.m.path+"/internal/config" && n.name == "To" {
			return "name or URL, a list of them, or a mapping of them to weights"
		}
		return "mapping"
	}
	return w.typ(n.file, n.expr, path)
}

// fields adds the keys of a struct, and reports whether it has any.
func (w *walk) fields(f *file, n *named, st *ast.StructType, path string) bool {
	found := false
	for _, field := range st.Fields.List {
		tag := tagOf(field)
		key, options, _ := strings.Cut(tag.Get("yaml"), ",")
		if key == "-" {
			continue
		}
		if len(field.Names) == 0 {
			found = w.embedded(f, field.Type, path) || found
		}
		for _, name := range field.Names {
			if name.IsExported() && key != "" {
				found = true
				w.key(f, n, field, name.Name, join(path, key), options, tag)
			}
		}
	}
	return found
}

// embedded adds the keys of a struct without a key of its own.
func (w *walk) embedded(f *file, e ast.Expr, path string) bool {
	inner := w.m.resolve(f, e)
	if inner == nil {
		return false
	}
	st, ok := inner.expr.(*ast.StructType)
	return ok && w.fields(inner.file, inner, st, path)
}

// key adds one row, and the rows below it.
func (w *walk) key(f *file, n *named, field *ast.Field, name, path, options string, tag reflect.StructTag) {
	text := commentText(field.Doc, field.Comment)
	at := len(w.rows)
	w.rows = append(w.rows, row{})
	r := row{
		path: path, label: w.typ(f, field.Type, path), owner: n, field: name, text: start(plain(text), name, path),
		required: has(options, "required"),
	}
	r.later = r.label == later
	if text == "" && !r.later && w.err == nil {
		w.err = fmt.Errorf("%s: %s (key %s) has no doc comment: it is what users read", w.m.fset.Position(field.Pos()), name, path)
	}
	r.fallback, r.short = splitDefault(r.text)
	if r.fallback == "" && !r.required {
		r.fallback = w.m.assigned(n, name)
	}
	if of := tag.Get("of"); of != "" {
		r.label = partLabel(field.Type)
	}
	if values := tag.Get("enum"); values != "" {
		r.label = enumerated(r.label, strings.Split(values, ","))
	}
	if has(options, "single") {
		r.label = singular(strings.TrimPrefix(r.label, "list of ")) + ", or a list of them"
	}
	w.rows[at] = r
}

// partLabel says how components are written that the settings hold: by name, or as
// a list.
func partLabel(e ast.Expr) string {
	if list, ok := e.(*ast.ArrayType); ok {
		if id, ok := list.Elt.(*ast.Ident); ok && id.Name == "Named" {
			return "mapping of names to { kind: settings }"
		}
		return "list of names, or of { kind: settings }"
	}
	return "name, or { kind: settings }"
}

// enumerated puts the values that are allowed in the place of the string.
func enumerated(label string, values []string) string {
	for i, v := range values {
		values[i] = "`" + strings.TrimSpace(v) + "`"
	}
	one := strings.Join(values, ", ")
	if rest, ok := strings.CutSuffix(label, "strings"); ok {
		return rest + one
	}
	if rest, ok := strings.CutSuffix(label, "string"); ok {
		return rest + one
	}
	return label + ": " + one
}

// countable are the labels that several of them are many of.
var countable = []string{"string", "integer", "number", "mapping", "duration", "size", "bool"}

func plural(label string) string {
	if label == "string or mapping" {
		return "strings or mappings"
	}
	for _, c := range countable {
		if strings.HasSuffix(label, c) {
			return label + "s"
		}
	}
	return label
}

func singular(label string) string {
	if label == "strings or mappings" {
		return "string or mapping"
	}
	if one := strings.TrimSuffix(label, "s"); plural(one) == label {
		return one
	}
	return label
}

func has(options, option string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == option {
			return true
		}
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func tagOf(f *ast.Field) reflect.StructTag {
	if f.Tag == nil {
		return ""
	}
	s, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	return reflect.StructTag(s)
}

func basic(name string) string {
	switch name {
	case "string", "bool", "any":
		return name
	case "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64":
		return "integer"
	case "float32", "float64":
		return "number"
	}
	return ""
}

const later = "a later version brings it"

func airsideType(name string) string {
	switch name {
	case "Size":
		return "size"
	case "Secret":
		return "secret string"
	case "Later":
		return later
	}
	return ""
}

// known says how the types of other packages are written that are not structs
// of ours.
func (m *mod) known(f *file, e *ast.SelectorExpr) string {
	x, ok := e.X.(*ast.Ident)
	if !ok {
		return ""
	}
	switch target := f.imports[x.Name]; {
	case target == "time" && e.Sel.Name == "Duration":
		return "duration"
	case target == m.path:
		return airsideType(e.Sel.Name)
	case m.pkgs[target] == nil && target != "": // such as netip.Prefix
		return "string"
	}
	return ""
}

// assigned finds what the method Defaults gives to a field, if it is a value that
// reads as it is written in a file: c.Limit = 5, or *c = Config{Limit: 5}.
func (m *mod) assigned(n *named, field string) string {
	d := n.methods["Defaults"]
	if d == nil || d.Body == nil {
		return ""
	}
	out := ""
	ast.Inspect(d.Body, func(node ast.Node) bool {
		a, ok := node.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != len(a.Rhs) {
			return true
		}
		for i, l := range a.Lhs {
			if e := given(l, a.Rhs[i], field); e != nil {
				out = m.value(n.file, e)
			}
		}
		return true
	})
	return out
}

// given finds what an assignment gives to a field; nil for nothing.
func given(left, right ast.Expr, field string) ast.Expr {
	switch left := left.(type) {
	case *ast.SelectorExpr:
		if left.Sel.Name == field && identifier(left.X) != "" {
			return right
		}
	case *ast.StarExpr:
		lit, ok := right.(*ast.CompositeLit)
		if !ok {
			return nil
		}
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && identifier(kv.Key) == field {
				return kv.Value
			}
		}
	}
	return nil
}

// identifier is the name that e is; empty for anything else.
func identifier(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// value writes e as in a file; empty if it is neither a literal nor a constant of
// the module.
func (m *mod) value(f *file, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return text(e)
		}
		return strings.ReplaceAll(e.Value, "_", "")
	case *ast.Ident:
		if e.Name == "true" || e.Name == "false" {
			return e.Name
		}
		return m.constant(f.pkg, e.Name)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && m.pkgs[f.imports[x.Name]] != nil {
			return m.constant(m.pkgs[f.imports[x.Name]], e.Sel.Name)
		}
		return unit(e)
	case *ast.BinaryExpr:
		n, u := m.value(f, e.X), m.value(f, e.Y)
		if e.Op == token.MUL && strings.HasPrefix(u, "1") && n != "" {
			return n + u[1:]
		}
	}
	return ""
}

// constant is the value of a constant that is a literal.
func (m *mod) constant(p *pkg, name string) string {
	if lit, ok := p.consts[name].(*ast.BasicLit); ok {
		return m.value(nil, lit)
	}
	return ""
}

func unit(e *ast.SelectorExpr) string {
	if x, ok := e.X.(*ast.Ident); !ok || x.Name != "time" {
		return ""
	}
	switch e.Sel.Name {
	case "Millisecond":
		return "1ms"
	case "Second":
		return "1s"
	case "Minute":
		return "1m"
	case "Hour":
		return "1h"
	}
	return ""
}

var (
	link     = regexp.MustCompile(`\[(\*?[A-Za-z][\w.]*)\]`)
	sentence = regexp.MustCompile(`(?:^|[.;] )(?:The default is|Default:|Defaults to|Default|default:|default|defaults to) ([^;]+?)(?:\.$|\. |;|$)`)
	inside   = regexp.MustCompile(`(?:\((?:default|the default is):? |, default |by default:? |default is )([^;()]+?)(?:\)|\.$|\. |;|,|$)`)
	before   = regexp.MustCompile(`([\w.%/-]+) by default`)
)

// plain takes the brackets off the links of a doc comment.
func plain(text string) string { return link.ReplaceAllString(text, "$1") }

// splitDefault finds the default that a comment states, and the comment without
// the sentence that does nothing else.
func splitDefault(text string) (fallback, rest string) {
	if m := sentence.FindStringSubmatchIndex(text); m != nil {
		before, after := text[:m[0]], strings.TrimSpace(text[m[1]:])
		if m[0] > 0 {
			before += "."
		}
		return text[m[2]:m[3]], strings.TrimSpace(before + " " + after)
	}
	if m := inside.FindStringSubmatch(text); m != nil && len(m[1]) <= 60 {
		return m[1], text
	}
	if m := before.FindStringSubmatch(text); m != nil {
		return m[1], text
	}
	return "", text
}

// start rewrites the beginning of a Go doc comment for somebody who knows the
// key and not the field: "Limit is how many" becomes "How many".
func start(text, field, path string) string {
	rest, ok := strings.CutPrefix(text, field+" ")
	if !ok {
		return text
	}
	for _, verb := range []string{"is ", "are ", "says "} {
		if after, ok := strings.CutPrefix(rest, verb); ok {
			return strings.ToUpper(after[:1]) + after[1:]
		}
	}
	return "`" + path[strings.LastIndexByte(path, '.')+1:] + "` " + rest
}
