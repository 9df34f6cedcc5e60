package expr

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/airside-gateway/airside"
)

// What most rules are made of (fields of the variables, claims, headers, text, and how
// they are compared) is run as a tree of functions of Go, without CEL. A function
// vouches for what it returns, or says that it does not: whatever is not text, or not
// there, or not of the usual types, is left to CEL, whose word is the same where both
// have one.
type (
	fastText  func(*airside.Exchange) (text string, ok bool)
	fastTruth func(*airside.Exchange) (truth, ok bool)
)

// maxListed bounds the list that is searched without CEL, which counts the cost.
const maxListed = 256

// quickText returns the function of e, or nil if it has none.
func quickText(e ast.Expr) fastText {
	switch e.Kind() {
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(types.String); ok {
			text := string(s)
			return func(*airside.Exchange) (string, bool) { return text, true }
		}
	case ast.SelectKind, ast.CallKind:
		if read := quickField(e); read != nil {
			return read
		}
		if key, ok := entry(e, "caller", "claims"); ok {
			return claimText(key)
		}
		if name, ok := entry(e, "request", "headers"); ok {
			return headerText(name)
		}
		return quickDefault(e)
	}
	return nil
}

// quickField is a field that is text.
func quickField(e ast.Expr) fastText {
	var read func(*airside.Exchange) string
	switch of, name := fieldOf(e); of + "." + name {
	case "request.method":
		read = func(x *airside.Exchange) string { return x.Request.Method }
	case "request.path":
		read = func(x *airside.Exchange) string { return x.Request.URL.Path }
	case "request.host":
		read = func(x *airside.Exchange) string { return hostname(x.Request.Host) }
	case "request.scheme":
		read = func(x *airside.Exchange) string { return x.Client.Scheme }
	case "request.remote":
		read = func(x *airside.Exchange) string { return x.Client.Addr }
	case "call.operation":
		read = func(x *airside.Exchange) string { return x.Call.Operation }
	case "call.target":
		read = func(x *airside.Exchange) string { return x.Call.Target }
	case "call.id":
		read = func(x *airside.Exchange) string { return x.Call.ID }
	case "caller.id":
		read = func(x *airside.Exchange) string { return x.Caller.ID }
	default:
		return nil
	}
	return func(x *airside.Exchange) (string, bool) { return read(x), true }
}

// fieldOf names the variable and its field that e selects, if it does.
func fieldOf(e ast.Expr) (variable, field string) {
	if e.Kind() != ast.SelectKind {
		return "", ""
	}
	s := e.AsSelect()
	if s.IsTestOnly() || s.Operand().Kind() != ast.IdentKind {
		return "", ""
	}
	return s.Operand().AsIdent(), s.FieldName()
}

// entry is the constant key by which e looks into the map variable.field.
func entry(e ast.Expr, variable, field string) (key string, ok bool) {
	var m ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			return "", false
		}
		m, key, ok = s.Operand(), s.FieldName(), true
	case ast.CallKind:
		m, key, ok = index(e, operators.Index)
	}
	if !ok {
		return "", false
	}
	v, f := fieldOf(m)
	return key, v == variable && f == field
}

// index takes a call of operator, which has a map and a constant text, apart.
func index(e ast.Expr, operator string) (m ast.Expr, key string, ok bool) {
	c := e.AsCall()
	if c.FunctionName() != operator || len(c.Args()) != 2 || c.Args()[1].Kind() != ast.LiteralKind {
		return nil, "", false
	}
	s, ok := c.Args()[1].AsLiteral().(types.String)
	return c.Args()[0], string(s), ok
}

func claimText(key string) fastText {
	return func(x *airside.Exchange) (string, bool) {
		s, ok := x.Caller.Claims[key].(string)
		return s, ok
	}
}

func headerText(name string) fastText {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return func(x *airside.Exchange) (string, bool) { return headerLine(x.Request.Header, name) }
}

// headerLine is the one line that the lines of a header are; name is canonical.
func headerLine(h http.Header, name string) (string, bool) {
	lines := h[name]
	switch len(lines) {
	case 0:
		return "", false
	case 1:
		return lines[0], true
	}
	if name == "Cookie" { // RFC 9113 section 8.2.3
		return strings.Join(lines, "; "), true
	}
	return strings.Join(lines, ", "), true
}

// quickDefault is caller.claims[?"key"].orValue("text"), and the same of headers.
func quickDefault(e ast.Expr) fastText {
	if e.Kind() != ast.CallKind {
		return nil
	}
	c := e.AsCall()
	if c.FunctionName() != "orValue" || !c.IsMemberFunction() || len(c.Args()) != 1 || c.Target().Kind() != ast.CallKind {
		return nil
	}
	m, key, ok := index(c.Target(), operators.OptIndex)
	instead := quickText(c.Args()[0])
	if !ok || instead == nil {
		return nil
	}
	switch v, f := fieldOf(m); v + "." + f {
	case "caller.claims":
		return func(x *airside.Exchange) (string, bool) {
			v, there := x.Caller.Claims[key]
			if !there {
				return instead(x)
			}
			s, ok := v.(string)
			return s, ok
		}
	case "request.headers":
		find := headerText(key)
		return func(x *airside.Exchange) (string, bool) {
			if s, there := find(x); there {
				return s, true
			}
			return instead(x)
		}
	}
	return nil
}

// quickTruth returns the function of e, or nil if it has none.
func quickTruth(e ast.Expr) fastTruth {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return func(*airside.Exchange) (bool, bool) { return bool(b), true }
		}
	case ast.SelectKind:
		return quickHas(e)
	case ast.CallKind:
		return quickCall(e.AsCall())
	}
	return nil
}

// quickHas is has(caller.claims.key), and the same of headers and of fields.
func quickHas(e ast.Expr) fastTruth {
	s := e.AsSelect()
	if !s.IsTestOnly() {
		return nil
	}
	name := s.FieldName()
	switch v, f := fieldOf(s.Operand()); v + "." + f {
	case "caller.claims", "request.headers":
		return quickKey(v, name)
	}
	return nil
}

// quickKey reports whether the map of the variable has the key.
func quickKey(variable, key string) fastTruth {
	if variable == "caller" {
		return func(x *airside.Exchange) (bool, bool) {
			_, there := x.Caller.Claims[key]
			return there, true
		}
	}
	name := textproto.CanonicalMIMEHeaderKey(key)
	return func(x *airside.Exchange) (bool, bool) { return len(x.Request.Header[name]) > 0, true }
}

func quickCall(c ast.CallExpr) fastTruth {
	args := c.Args()
	if c.IsMemberFunction() {
		if len(args) != 1 {
			return nil
		}
		return compared(c.Target(), args[0], method(c.FunctionName()))
	}
	switch c.FunctionName() {
	case operators.LogicalNot:
		return negated(quickTruth(args[0]))
	case operators.LogicalAnd:
		return quickAll(args, false)
	case operators.LogicalOr:
		return quickAll(args, true)
	case operators.Equals:
		return compared(args[0], args[1], func(a, b string) bool { return a == b })
	case operators.NotEquals:
		return compared(args[0], args[1], func(a, b string) bool { return a != b })
	case operators.In:
		return quickIn(args[0], args[1])
	}
	return nil
}

// method is the method of text of that name, or nil.
func method(name string) func(s, t string) bool {
	switch name {
	case "startsWith":
		return strings.HasPrefix
	case "endsWith":
		return strings.HasSuffix
	case "contains":
		return strings.Contains
	}
	return nil
}

func compared(a, b ast.Expr, compare func(a, b string) bool) fastTruth {
	if compare == nil {
		return nil
	}
	left, right := quickText(a), quickText(b)
	if left == nil || right == nil {
		return nil
	}
	return func(x *airside.Exchange) (bool, bool) {
		s, ok := left(x)
		if !ok {
			return false, false
		}
		t, ok := right(x)
		return ok && compare(s, t), ok
	}
}

func negated(f fastTruth) fastTruth {
	if f == nil {
		return nil
	}
	return func(x *airside.Exchange) (bool, bool) {
		v, ok := f(x)
		return !v, ok
	}
}

// quickAll runs terms until one of them is end.
func quickAll(terms []ast.Expr, end bool) fastTruth {
	all := make([]fastTruth, len(terms))
	for i, t := range terms {
		if all[i] = quickTruth(t); all[i] == nil {
			return nil
		}
	}
	return func(x *airside.Exchange) (bool, bool) {
		for _, f := range all {
			if v, ok := f(x); !ok || v == end {
				return v, ok
			}
		}
		return !end, true
	}
}

// quickIn looks for text in a list that the expression holds, in a claim that is a list,
// or among the keys of claims or headers.
func quickIn(what, where ast.Expr) fastTruth {
	find := quickText(what)
	if find == nil {
		return nil
	}
	if words, ok := constants(where); ok {
		return func(x *airside.Exchange) (bool, bool) {
			s, ok := find(x)
			return ok && slices.Contains(words, s), ok
		}
	}
	if key, ok := entry(where, "caller", "claims"); ok {
		return func(x *airside.Exchange) (bool, bool) {
			s, ok := find(x)
			if !ok {
				return false, false
			}
			return listed(x.Caller.Claims[key], s)
		}
	}
	if what.Kind() != ast.LiteralKind {
		return nil
	}
	key, _ := find(nil) // a constant
	switch v, f := fieldOf(where); v + "." + f {
	case "caller.claims", "request.headers":
		return quickKey(v, key)
	}
	return nil
}

// constants are the elements of a list of constant text.
func constants(e ast.Expr) ([]string, bool) {
	if e.Kind() != ast.ListKind || e.AsList().Size() > maxListed || len(e.AsList().OptionalIndices()) > 0 {
		return nil, false
	}
	var words []string
	for _, item := range e.AsList().Elements() {
		if item.Kind() != ast.LiteralKind {
			return nil, false
		}
		s, ok := item.AsLiteral().(types.String)
		if !ok {
			return nil, false
		}
		words = append(words, string(s))
	}
	return words, true
}

// listed reports whether the list has s, if all before it are text.
func listed(list any, s string) (found, ok bool) {
	switch list := list.(type) {
	case []string:
		return slices.Contains(list, s), len(list) <= maxListed
	case []any:
		for i, v := range list {
			t, text := v.(string)
			if !text || i == maxListed {
				return false, false
			}
			if t == s {
				return true, true
			}
		}
		return false, true
	}
	return false, false
}
