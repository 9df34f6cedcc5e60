// Package expr compiles and runs the conditions and the values that a
// configuration writes in CEL, the Common Expression Language
// (https://github.com/google/cel-spec).
//
// An expression sees three variables, and after an answer two more, see [WithAnswer]:
//
//	request  method, path, host, scheme, remote (strings),
//	         headers, query (maps of string to string)
//	call     operation, target, id (strings)
//	caller   id (a string), claims (a map of string to anything)
//
// request.path is the decoded canonical path. request.host has no port and
// request.remote is an IP address. Names of headers are found whatever their
// case, and are lower case when listed; lines of a repeated header are joined by
// a comma, as RFC 9110 section 5.3 allows. A query that cannot be decoded, or a
// query parameter that is asked for and occurs twice, fails the evaluation with
// [airside.Invalid], whatever else the expression says: the agent may read
// another of the two.
//
// has() of a field asks whether it is other than empty: has(caller.id). A key
// that is missing from a map is an error when the expression is run. Ask
// first, by has(request.headers.authorization), by "x-a" in request.headers, or
// by request.headers[?"x-a"].orValue("none").
//
// Beside the standard functions there are those on strings (trim, split, join,
// replace, lowerAscii and so on), sets (sets.contains and so on), network
// addresses (cidr("10.0.0.0/8").containsIP(request.remote)) and optional values.
package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/airside-gateway/airside"
)

// The bounds of an expression.
const (
	// MaxSource is the length of the longest expression, in bytes.
	MaxSource = 4 << 10

	maxCost  = 100_000  // of one evaluation, in CEL's units: about ten milliseconds
	maxRegex = 1_000    // instructions of a compiled pattern
	maxNodes = 5_000    // of the syntax tree
	maxDepth = 100      // of the syntax tree
	maxText  = 64 << 10 // bytes that one call of replace or join may make
)

// A Kind is what an expression must come to.
type Kind int

// The kinds.
const (
	Bool   Kind = iota // a condition
	String             // text; numbers and truth values are written out
	Any                // anything JSON can say
)

func (k Kind) String() string {
	switch k {
	case Bool:
		return "a condition (true or false)"
	case String:
		return "text"
	case Any:
	}
	return "a value"
}

// An Option changes what [Compile] accepts.
type Option func(*settings)

type settings struct {
	only  []string
	where string
}

// Only restricts the variables to those named; any other of this package's is
// refused with "caller is not known here".
func Only(variables ...string) Option {
	return func(s *settings) { s.only = variables }
}

// At says where the expression stands, such as "policies.staff". Errors of running it
// begin with that, since they do not show the expression itself: it may hold a secret.
// The default is "the expression".
func At(where string) Option {
	return func(s *settings) { s.where = where }
}

// A Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	source string
	where  string
	uses   []string // the variables mentioned
	run    cel.Program

	text  fastText  // nil if only run can tell
	truth fastTruth // the same
}

// Compile compiles src, at most [MaxSource] bytes of CEL, which must come to
// kind. The error is one line that says where and what is wrong.
func Compile(src string, kind Kind, options ...Option) (*Program, error) {
	s := settings{where: "the expression", only: before}
	for _, o := range options {
		o(&s)
	}
	if len(src) > MaxSource {
		return nil, fmt.Errorf("the expression has %d bytes, of which %d are allowed", len(src), MaxSource)
	}
	if strings.TrimSpace(src) == "" {
		return nil, errEmpty
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	parsed, issues := env.Parse(src)
	if issues.Err() != nil {
		return nil, explain(issues, nil, s.only)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, explain(issues, parsed.NativeRep().Expr(), s.only)
	}
	p := &Program{source: src, where: s.where, uses: mentioned(checked.NativeRep())}
	for _, name := range p.uses {
		if !slices.Contains(s.only, name) {
			return nil, fmt.Errorf("%s is not known here", name)
		}
	}
	if err := fits(checked.OutputType(), kind); err != nil {
		return nil, err
	}
	run, limited, err := plan(env, checked)
	if err != nil {
		return nil, err
	}
	p.run = run
	if !limited { // what may cost too much is counted
		root := checked.NativeRep().Expr()
		p.text, p.truth = quickText(root), quickTruth(root)
	}
	return p, nil
}

// mentioned lists the variables that the expression refers to.
func mentioned(a *ast.AST) []string {
	var names []string
	for _, v := range variables {
		for _, r := range a.ReferenceMap() {
			if r.Name == v.name {
				names = append(names, v.name)
				break
			}
		}
	}
	for _, r := range a.ReferenceMap() {
		if r.Name == took {
			return append(names, took)
		}
	}
	return names
}

// fits reports whether an expression of type t can come to kind.
func fits(t *types.Type, kind Kind) error {
	if t.Kind() == types.DynKind {
		return nil // seen when it is run
	}
	switch {
	case t.Kind() == types.StructKind, t.Kind() == types.OpaqueKind, t.Kind() == types.TypeKind:
	case kind == Any, kind == Bool && t.Kind() == types.BoolKind, kind == String && textual(t):
		return nil
	}
	return fmt.Errorf("the expression is %s, where %s is needed", typeName(t), kind)
}

func textual(t *types.Type) bool {
	switch t.Kind() {
	case types.StringKind, types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind:
		return true
	}
	return false
}

// String is the source. It may hold a secret: it is not for logs.
func (p *Program) String() string { return p.source }

// Uses reports whether the expression mentions the variable: "request", "call"
// or "caller".
func (p *Program) Uses(variable string) bool { return slices.Contains(p.uses, variable) }

// Bool runs a program of kind [Bool]. An error is an [airside.Error] if the
// client is to blame for it; otherwise the caller decides what it means, and
// must not take it for true. Other errors say where the expression stands and what
// kind of failure it was, and nothing of the expression or of what it was run on.
func (p *Program) Bool(x *airside.Exchange) (bool, error) {
	if p.truth != nil {
		if v, ok := p.truth(x); ok {
			return v, nil
		}
	}
	a := acquire(x)
	defer a.release()
	v, err := p.eval(a)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%s: the result is %s, where %s is needed", p.where, typeName(v.Type()), Bool)
	}
	return bool(b), nil
}

// Text runs a program of kind [String]. Numbers and truth values are written as
// in JSON. Errors are as for [Program.Bool].
func (p *Program) Text(x *airside.Exchange) (string, error) {
	if p.text != nil {
		if v, ok := p.text(x); ok {
			return v, nil
		}
	}
	a := acquire(x)
	defer a.release()
	v, err := p.eval(a)
	if err != nil {
		return "", err
	}
	s, ok := text(v)
	if !ok {
		return "", fmt.Errorf("%s: the result is %s, where %s is needed", p.where, typeName(v.Type()), String)
	}
	return s, nil
}

// Value runs a program of any kind and returns nil, a bool, int64, uint64,
// float64, string, []any or map[string]any. Bytes become base64 text, times and
// durations their usual text. Errors are as for [Program.Bool].
func (p *Program) Value(x *airside.Exchange) (any, error) {
	a := acquire(x)
	defer a.release()
	v, err := p.eval(a)
	if err != nil {
		return nil, err
	}
	out, err := plain(v, 0)
	switch {
	case a.err != nil:
		return nil, a.err
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.where, err)
	}
	return out, nil
}

var (
	errEmpty   = errors.New("the expression is empty")
	errTooDeep = errors.New("the value is nested too deeply")
)

func (p *Program) eval(a *activation) (ref.Val, error) {
	v, _, err := p.run.Eval(a)
	switch {
	case a.err != nil: // even if the expression did not mind
		return nil, a.err
	case err != nil:
		return nil, fmt.Errorf("%s: %s", p.where, failure(err))
	case types.IsUnknown(v):
		return nil, fmt.Errorf("%s: not known", p.where)
	}
	return v, nil
}
