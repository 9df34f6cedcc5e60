package jq

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

const (
	maxElement = 1 << 20  // a computed index; cells of a transposed table
	maxText    = 16 << 20 // bytes of a repeated or joined string
	maxPairs   = 1 << 26  // comparisons of each with each

	// FromJSONRatio bounds the memory that the values take which fromjson makes of a
	// string, in times its length. Those of a short string may take 64 KiB.
	FromJSONRatio = 64
	fromJSONFree  = 64 << 10
)

// A limitError is raised where a function is given too much.
type limitError struct{ what string }

func (e *limitError) Error() string { return "jq: " + e.what }

// prelude redefines what could take very long, or very much memory, in one
// instruction, where neither time nor steps are looked at. The names that begin
// with an underscore and end in _ are the functions of guards.
const prelude = `
def _multiply(l; r): r as $r | l as $l | _multiply_($l; $r) as $_ | $l * $r;
def _subtract(l; r): r as $r | l as $l | _compare_($l; $r) as $_ | $l - $r;
def _old_contains($x): contains($x);
def contains($x): _compare_(.; $x) as $_ | _old_contains($x);
def inside($x): . as $y | $x | contains($y);
def _texts($x): type == "string" and ($x | type == "string");
def _old_indices($x): indices($x);
def indices($x): if _texts($x) then _places_($x) else _compare_(.; $x) as $_ | _old_indices($x) end;
def _old_index($x): index($x);
def index($x): if _texts($x) then _first_($x) else _compare_(.; $x) as $_ | _old_index($x) end;
def _old_rindex($x): rindex($x);
def rindex($x): if _texts($x) then _last_($x) else _compare_(.; $x) as $_ | _old_rindex($x) end;
def _old_join($x): join($x);
def join($x): _join_($x) as $_ | _old_join($x);
def _old_transpose: transpose;
def transpose: _transpose_ as $_ | _old_transpose;
def _old_setpath($p; $v): setpath($p; $v);
def setpath($p; $v): _old_setpath($p | _path_; $v);
def _old_getpath($p): getpath($p);
def getpath($p): _old_getpath($p | _path_);
def nth($n): .[$n | _index_];
def _old_tonumber: tonumber;
def tonumber: _digits_ | _old_tonumber;
def fromjson: _fromjson_;

def match($re; $flags): _match_($re; $flags);
def match($re): if $re | type == "array" then match($re[0]; $re[1]) else match($re; null) end;
def test($re; $flags): _test_($re; $flags);
def test($re): if $re | type == "array" then test($re[0]; $re[1]) else test($re; null) end;
def capture($re; $flags): match($re; $flags) | .captures | _captures;
def capture($re): match($re) | .captures | _captures;
def scan($re; $flags): match($re; $flags + "g") | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def splits($re; $flags): _splits_($re; $flags);
def splits($re): splits($re; null);
def split($re; $flags): [splits($re; $flags)];
def sub($re; str; $flags): _splice_($re; $flags; [match($re; $flags) | [.captures | _captures | str]]);
def sub($re; str): sub($re; str; null);
def gsub($re; str; $flags): sub($re; str; $flags + "g");
def gsub($re; str): sub($re; str; "g");
.`

// absent lists what a filter may not use. What is defined by nobody is refused by
// gojq itself.
var absent = []string{"input", "inputs", "halt", "halt_error", "modulemeta", "fromstream"}

// A modules gives a filter the prelude, and no modules.
type modules struct{}

// LoadInitModules is how gojq asks for what is there from the beginning.
func (modules) LoadInitModules() ([]*gojq.Query, error) {
	q, err := gojq.Parse(prelude)
	if err != nil {
		return nil, fmt.Errorf("prelude: %w", err)
	}
	return []*gojq.Query{q}, nil
}

// guards are the prelude and the functions that it calls.
func guards() []gojq.CompilerOption {
	re := &patterns{}
	return []gojq.CompilerOption{
		gojq.WithModuleLoader(modules{}),
		gojq.WithFunction("_multiply_", 2, 2, func(_ any, a []any) any { return mayMultiply(a[0], a[1]) }),
		gojq.WithFunction("_compare_", 2, 2, func(_ any, a []any) any { return mayCompare(a[0], a[1]) }),
		gojq.WithFunction("_places_", 1, 1, func(v any, a []any) any { return places(v, a[0]) }),
		gojq.WithFunction("_first_", 1, 1, func(v any, a []any) any { return place(v, a[0], strings.Index) }),
		gojq.WithFunction("_last_", 1, 1, func(v any, a []any) any { return place(v, a[0], strings.LastIndex) }),
		gojq.WithFunction("_join_", 1, 1, func(v any, a []any) any { return mayJoin(v, a[0]) }),
		gojq.WithFunction("_transpose_", 0, 0, func(v any, _ []any) any { return mayTranspose(v) }),
		gojq.WithFunction("_index_", 0, 0, func(v any, _ []any) any { return index(v) }),
		gojq.WithFunction("_path_", 0, 0, func(v any, _ []any) any { return path(v) }),
		gojq.WithFunction("_digits_", 0, 0, func(v any, _ []any) any { return digits(v) }),
		gojq.WithFunction("_fromjson_", 0, 0, func(v any, _ []any) any { return fromJSON(v) }),
		gojq.WithFunction("_test_", 2, 2, func(v any, a []any) any { return re.test(v, a[0], a[1]) }),
		gojq.WithIterFunction("_match_", 2, 2, func(v any, a []any) gojq.Iter { return re.match(v, a[0], a[1]) }),
		gojq.WithIterFunction("_splits_", 2, 2, func(v any, a []any) gojq.Iter { return re.splits(v, a[0], a[1]) }),
		gojq.WithIterFunction("_splice_", 3, 3, func(v any, a []any) gojq.Iter { return re.splice(v, a[0], a[1], a[2]) }),
	}
}

// guarded lists the functions that the prelude redefines.
var guarded = []string{
	"contains", "inside", "indices", "index", "rindex", "join", "transpose", "setpath", "getpath", "nth", "tonumber", "fromjson",
	"match", "test", "capture", "scan", "splits", "split", "sub", "gsub",
}

// A surveyed is what was found in a filter.
type surveyed struct {
	variables map[string]*use // by name, with the dollar
	functions []string        // called
	defined   []string
	rewritten bool // to call the prelude
}

// A use is how often a variable is used, and which members are taken of it.
type use struct {
	uses    int
	members []string
}

// survey looks through a filter, and rewrites the operators and the computed
// indexes that have to be guarded.
func survey(q *gojq.Query) *surveyed {
	s := &surveyed{variables: map[string]*use{}}
	s.walk(reflect.ValueOf(q))
	return s
}

// walk visits what v is made of, the parts before the whole.
func (s *surveyed) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			s.walk(v.Index(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		for _, field := range v.Elem().Fields() {
			s.walk(field)
		}
		s.visit(v.Interface())
	}
}

func (s *surveyed) visit(node any) {
	switch n := node.(type) {
	case *gojq.Func:
		if n.Name[0] != '$' {
			s.functions = append(s.functions, n.Name)
			break
		}
		if s.variables[n.Name] == nil {
			s.variables[n.Name] = &use{}
		}
		s.variables[n.Name].uses++
	case *gojq.Term:
		s.member(n)
	case *gojq.FuncDef:
		s.defined = append(s.defined, n.Name)
	case *gojq.Query:
		s.operation(n)
	case *gojq.Index:
		if n.Start != nil && !n.IsSlice && !number(n.Start) && !name(n.Start) {
			n.Start = &gojq.Query{Op: gojq.OpPipe, Left: n.Start, Right: function("_index_")}
			s.rewritten = true
		}
	}
}

// member notes what is taken of a variable. The variable itself was seen before.
func (s *surveyed) member(t *gojq.Term) {
	if t.Type != gojq.TermTypeFunc || t.Func.Name[0] != '$' || len(t.SuffixList) == 0 {
		return
	}
	u, index := s.variables[t.Func.Name], t.SuffixList[0].Index
	switch {
	case index == nil:
	case index.Name != "":
		u.members = append(u.members, index.Name)
	case index.Start != nil && !index.IsSlice && name(index.Start):
		u.members = append(u.members, index.Start.Term.Str.Str)
	case index.Str != nil && len(index.Str.Queries) == 0:
		u.members = append(u.members, index.Str.Str)
	}
}

// operation rewrites what may do more work than it seems. With a number that the
// author wrote it does not.
func (s *surveyed) operation(q *gojq.Query) {
	switch q.Op {
	case gojq.OpMul:
		s.call(q, "_multiply")
	case gojq.OpSub:
		s.call(q, "_subtract")
	case gojq.OpUpdateMul, gojq.OpUpdateSub: // call the functions of the prelude themselves
		s.rewritten = true
	}
}

func (s *surveyed) call(q *gojq.Query, name string) {
	if number(q.Left) || number(q.Right) {
		return
	}
	defs := q.FuncDefs
	*q = *function(name, q.Left, q.Right)
	q.FuncDefs = defs
	s.rewritten = true
}

func function(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

// number reports whether q is a number as the author wrote it.
func number(q *gojq.Query) bool {
	t := q.Term
	for t != nil && t.Type == gojq.TermTypeUnary && len(t.SuffixList) == 0 {
		t = t.Unary.Term
	}
	return t != nil && t.Type == gojq.TermTypeNumber && len(t.SuffixList) == 0
}

// name reports whether q is a string as the author wrote it.
func name(q *gojq.Query) bool {
	t := q.Term
	return t != nil && t.Type == gojq.TermTypeString && len(t.Str.Queries) == 0 && len(t.SuffixList) == 0
}

// refuse says what a filter may not use.
func (s *surveyed) refuse(q *gojq.Query) error {
	if len(q.Imports) > 0 {
		return fmt.Errorf("jq: import and include are not available here")
	}
	for _, name := range s.functions {
		if slices.Contains(absent, name) && !slices.Contains(s.defined, name) {
			return fmt.Errorf("jq: %s is not available here", name)
		}
	}
	return nil
}

// guard reports whether the filter needs the prelude.
func (s *surveyed) guard() bool {
	return s.rewritten || slices.ContainsFunc(s.functions, func(name string) bool { return slices.Contains(guarded, name) })
}

// mayMultiply refuses a string repeated too often.
func mayMultiply(l, r any) any {
	text, ok := l.(string)
	times := r
	if !ok {
		text, ok = r.(string)
		times = l
	}
	if n, number := gojq.ToFloat64(times); ok && number && float64(len(text))*n > maxText {
		return &limitError{"a repeated string would be too long"}
	}
	return true
}

// mayCompare refuses to compare too much with too much.
func mayCompare(l, r any) any {
	n := weight(l, maxPairs)
	if n*max(weight(r, maxPairs/n), 1) > maxPairs {
		return &limitError{"too much to be compared with too much"}
	}
	return true
}

// weight counts the values in v, long strings for more, up to most and a few.
func weight(v any, most int) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 16
	case []any:
		for i := 0; i < len(v) && n <= most; i++ {
			n += weight(v[i], most-n)
		}
	case map[string]any:
		for name, e := range v {
			if n > most {
				break
			}
			n += len(name)/16 + weight(e, most-n)
		}
	}
	return n
}

// place returns where part is in text, in characters, as find says; or nil.
func place(text, part any, find func(s, part string) int) any {
	s, _ := text.(string)
	p, _ := part.(string)
	at := find(s, p)
	if at < 0 || p == "" {
		return nil
	}
	return utf8.RuneCountInString(s[:at])
}

// places returns all the places, in characters, where part is in text. They may
// overlap.
func places(text, part any) any {
	s, _ := text.(string)
	p, _ := part.(string)
	all := []any{}
	if p == "" {
		return all
	}
	count, work := 0, 0
	for {
		at := strings.Index(s, p)
		if at < 0 {
			return all
		}
		if work += len(p); work > 16*maxPairs {
			return &limitError{"too much to be compared with too much"}
		}
		count += utf8.RuneCountInString(s[:at])
		all = append(all, count)
		_, width := utf8.DecodeRuneInString(s[at:])
		s = s[at+width:]
		count++
	}
}

// mayJoin refuses to join too much by too long a separator.
func mayJoin(v, by any) any {
	separator, _ := by.(string)
	n := 0
	switch v := v.(type) {
	case []any:
		n = len(v)
	case map[string]any:
		n = len(v)
	}
	if n*len(separator) > maxText {
		return &limitError{"a joined string would be too long"}
	}
	return true
}

// mayTranspose refuses a table of which the most is empty.
func mayTranspose(v any) any {
	rows, _ := v.([]any)
	width := 0
	for _, row := range rows {
		cells, _ := row.([]any)
		width = max(width, len(cells))
	}
	if len(rows)*width > maxElement {
		return &limitError{"a transposed table would be too large"}
	}
	return true
}

// index returns v if it may be an index.
func index(v any) any {
	if n, number := gojq.ToFloat64(v); number && n > maxElement {
		return &limitError{"an index is too large"}
	}
	return v
}

// path returns v if it may be a path.
func path(v any) any {
	steps, _ := v.([]any)
	for _, step := range steps {
		if err, failed := index(step).(error); failed {
			return err
		}
	}
	return v
}

// digits returns v if it may be read as a number.
func digits(v any) any {
	if s, ok := v.(string); ok && len(s) > maxNumber {
		return &limitError{"a number is too long"}
	}
	return v
}

// fromJSON is the function fromjson.
func fromJSON(v any) any {
	s, ok := v.(string)
	if !ok {
		return &limitError{"fromjson takes a string"}
	}
	text := []byte(s)
	if Measured(text).Memory() > int64(len(text))*FromJSONRatio+fromJSONFree {
		return &limitError{"fromjson: the text holds too many small objects and lists"}
	}
	v, err := Decode(text)
	if err != nil {
		return &limitError{"fromjson: " + err.Error()}
	}
	return v
}
