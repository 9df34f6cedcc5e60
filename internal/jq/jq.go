// Package jq runs filters of the jq language (by gojq) on values of JSON, for
// rules that an operator wrote and data that a client or an agent sent. The rule
// is trusted, the data is not: whatever the data is, a filter ends soon, in
// bounded memory, and says nothing of the data in an error.
//
// # Bounds
//
// A source has at most 16 KiB. A run ends after [Budget], after [Steps]
// instructions, or with its context. Functions that do much work in one
// instruction are bounded by what they are given: a pattern and its subject, an
// index at most 2^20 when it was computed, a repeated or joined string at most
// 16 MiB, 100,000 matches of a pattern, comparing each with each (contains,
// inside, indices, array - array) at most 2^26 pairs.
//
// A filter that builds much out of nothing, or calls itself without end, is the
// fault of its author. It is stopped by the same bounds of time and steps.
//
// # What differs from jq
//
// $ENV and env are empty. There are no modules, and no input, inputs, debug,
// stderr, halt, halt_error, modulemeta and fromstream: they are refused when the
// filter is compiled. now and localtime read the clock. fromjson is as strict as
// [Decode]. Regular expressions are Go's (RE2), which take linear time.
//
// # Numbers
//
// A number that a filter only moves keeps its text (1.0, 1e400, thirty digits).
// Calculating with integers is exact at every size, so 9007199254740993 (2^53+1)
// and its successor are what they are; everything else is calculated as float64,
// as is a quotient that is not whole. A result that is not finite is an error.
//
// # Order of keys
//
// An object is a Go map: the order of its names is lost, and they are written
// sorted by their bytes, as gojq does everywhere (keys, to_entries, tojson).
package jq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

const (
	maxSource = 16 << 10

	// Steps bounds one run, in instructions. One takes some ten nanoseconds, and
	// can make a result some ten bytes longer.
	Steps = 10_000_000

	// Budget bounds the time of one run, whatever its context says.
	Budget = time.Second
)

// Errors of a run, besides [Raised] and those of its context.
var (
	ErrNone    = errors.New("jq: the filter has no result")
	ErrSeveral = errors.New("jq: the filter has more than one result")
	ErrBudget  = errors.New("jq: the filter takes too long on this input")
)

// A Raised error is one that the filter itself raised, by error("...").
type Raised struct {
	Message string // one line, at most 512 bytes and a dot or three
}

func (r *Raised) Error() string { return "jq: the filter refuses: " + r.Message }

// A Query is a compiled filter. It may be run by many goroutines at once.
type Query struct {
	code *gojq.Code
	vars []string
	used map[string]*use

	decodes bool
}

// Compile compiles src, which may use the variables named by vars (without the
// dollar). It fails, in one line, if src is larger than 16 KiB, is not jq, or
// uses what is not there.
func Compile(src string, vars ...string) (*Query, error) {
	if len(src) > maxSource {
		return nil, fmt.Errorf("jq: the filter is longer than %d bytes", maxSource)
	}
	parsed, err := gojq.Parse(src)
	if err != nil {
		return nil, parseError(src, err)
	}
	found := survey(parsed)
	if err := found.refuse(parsed); err != nil {
		return nil, err
	}
	q := &Query{vars: make([]string, len(vars)), used: found.variables, decodes: slices.Contains(found.functions, "fromjson")}
	for i, name := range vars {
		q.vars[i] = "$" + name
	}
	options := []gojq.CompilerOption{gojq.WithVariables(q.vars)}
	if found.guard() {
		options = append(options, guards()...)
	}
	q.code, err = gojq.Compile(parsed, options...)
	if err != nil {
		return nil, fmt.Errorf("jq: %s", oneLine(err.Error()))
	}
	return q, nil
}

// Uses reports whether the source mentions the variable called name, which then
// has to be worth something in [Query.One].
func (q *Query) Uses(name string) bool { return q.used["$"+name] != nil }

// Decodes reports whether the filter may call fromjson, which makes values of a
// string: at most [FromJSONRatio] times the memory that the string takes.
func (q *Query) Decodes() bool { return q.decodes }

// Members lists the members that the source takes of the variable called name,
// as in $name.member or $name["member"], and reports whether the source uses the
// variable in no other way.
func (q *Query) Members(name string) (members []string, only bool) {
	u := q.used["$"+name]
	if u == nil {
		return nil, true
	}
	return u.members, u.uses == len(u.members)
}

// One runs the filter on input, with vars in the order of [Compile], and returns
// its result, of which there must be exactly one: else it fails with [ErrNone] or
// [ErrSeveral]. It fails with a [Raised] if the filter raised an error, with
// [ErrBudget] or the error of ctx if it was not done in time, and otherwise with
// an error that says what went wrong and nothing of the values it went wrong on.
//
// Input and vars are as [Decode] and [Value] return them. They are not changed,
// and the result may share with them; so it must not be changed either.
func (q *Query) One(ctx context.Context, input any, vars ...any) (any, error) {
	if len(vars) != len(q.vars) {
		return nil, fmt.Errorf("jq: %d values for %d variables", len(vars), len(q.vars))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &run{Context: ctx, end: time.Now().Add(Budget)}
	results := q.code.RunWithContext(r, input, vars...)
	v, ok := results.Next()
	if !ok {
		return nil, ErrNone
	}
	if err, failed := v.(error); failed {
		return nil, r.fault(err)
	}
	second, ok := results.Next()
	if err, failed := second.(error); failed {
		return nil, r.fault(err)
	}
	if ok {
		return nil, ErrSeveral
	}
	return v, nil
}

// A run is the context of one run. gojq asks for Done before each instruction,
// which makes it a count of instructions, and cheaper than a timer.
type run struct {
	context.Context
	end   time.Time
	steps int
	err   error
}

// Done returns a closed channel once the run is over its bounds, and otherwise
// nil, which is never ready.
func (r *run) Done() <-chan struct{} {
	r.steps++
	if r.steps%256 != 0 && r.err == nil {
		return nil
	}
	switch {
	case r.err != nil:
	case r.Context.Err() != nil:
		r.err = r.Context.Err()
	case r.steps > Steps || time.Now().After(r.end):
		r.err = ErrBudget
	default:
		return nil
	}
	done := make(chan struct{})
	close(done)
	return done
}

// Err says why the run is over.
func (r *run) Err() error { return r.err }

// fault makes an error of gojq one of ours.
func (r *run) fault(err error) error {
	if r.err != nil {
		return r.err
	}
	if limit, ok := errors.AsType[*limitError](err); ok {
		return limit
	}
	if raised, ok := errors.AsType[gojq.ValueError](err); ok {
		return &Raised{Message: oneLine(message(raised.Value()))}
	}
	return errors.New("jq: " + withoutValues(err.Error()))
}

// message is what error(v) says.
func message(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return gojq.Preview(v)
}

// oneLine makes s fit into a log or a message.
func oneLine(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// withoutValues cuts an error of gojq where it begins to tell values, but keeps
// the type of one: `cannot add: string ("secret") and number (1)` becomes
// "cannot add: string".
func withoutValues(s string) string {
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte("(\"[{\n", c) >= 0,
			c == ' ' && i+1 < len(s) && strings.IndexByte("-0123456789", s[i+1]) >= 0:
			return strings.TrimRight(s[:i], " :")
		}
	}
	return s
}

// parseError says where src is wrong.
func parseError(src string, err error) error {
	p, ok := errors.AsType[*gojq.ParseError](err)
	if !ok {
		return fmt.Errorf("jq: %s", oneLine(err.Error()))
	}
	at := min(max(p.Offset-len(p.Token), 0), len(src))
	line := strings.Count(src[:at], "\n") + 1
	column := at - strings.LastIndexByte(src[:at], '\n')
	return fmt.Errorf("jq: line %d, column %d: %s", line, column, oneLine(err.Error()))
}
