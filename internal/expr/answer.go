package expr

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/airside-gateway/airside"
)

// An Answer is what came of an exchange: an answer, or an error instead. Expressions
// that were compiled [WithAnswer] see it as the variables response and error.
type Answer struct {
	Status int         // response.status; 0 without an answer
	Header http.Header // response.headers; may be nil
	Code   string      // error.code, one of the codes of [airside.Error]; empty without an error
	Kind   string      // error.kind, at which point it failed; empty if that is not known

	Took time.Duration // took: see [WithOutcome]
}

// WithAnswer adds the variables of an [Answer] to those that are known:
//
//	response  status (a number; 0 if there is none), headers (as request.headers)
//	error     code, kind (strings; empty if there is none)
//
// The program is run by [Program.BoolAfter].
func WithAnswer() Option {
	return func(s *settings) { s.only = append(slices.Clone(before), "response", "error") }
}

// before are the variables of a request that has no answer yet.
var before = []string{"request", "call", "caller"}

// BoolAfter is [Program.Bool] for a program of kind [Bool] that also sees what came of
// the exchange.
func (p *Program) BoolAfter(x *airside.Exchange, answer Answer) (bool, error) {
	if p.truth != nil {
		if v, ok := p.truth(x); ok {
			return v, nil
		}
	}
	a := acquire(x)
	defer a.release()
	a.answer = answer
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

// answerVariables are the variables of an [Answer].
var answerVariables = [...]*variable{
	{name: "response", typ: types.NewObjectType("airside.Response"), fields: []field{
		{"status", types.IntType, func(a *activation) any { return types.Int(a.answer.Status) }},
		{"headers", textMap, func(a *activation) any { return &a.replied }},
	}},
	{name: "error", typ: types.NewObjectType("airside.Error"), fields: []field{
		{"code", types.StringType, func(a *activation) any { return types.String(a.answer.Code) }},
		{"kind", types.StringType, func(a *activation) any { return types.String(a.answer.Kind) }},
	}},
}

// replied are the entries of response.headers.
type replied struct{ a *activation }

func (r *replied) find(name string) (string, bool) {
	return headerLine(r.a.answer.Header, textproto.CanonicalMIMEHeaderKey(name))
}

func (r *replied) names() []string { return headerNames(r.a.answer.Header) }

// headerNames are the names in h, lower case and sorted.
func headerNames(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name, lines := range h {
		if len(lines) > 0 {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
