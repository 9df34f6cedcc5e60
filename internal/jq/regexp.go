package jq

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

const (
	maxPattern  = 4 << 10
	maxPatterns = 64      // kept compiled, for each filter
	maxMatches  = 100_000 // of one pattern in one text
	maxMatching = 1 << 28 // instructions of a pattern times bytes of the text
)

// patterns are the regular expressions of a filter, compiled as they are met: a
// pattern may be made of data.
type patterns struct {
	mu    sync.Mutex
	known map[[2]string]*pattern
}

// A pattern is a regular expression and what jq wants to know beyond Go.
type pattern struct {
	*regexp.Regexp

	// after matches one character and then the expression, from the beginning:
	// jq tells of an empty match right after another one, and Go does not.
	after *regexp.Regexp
	size  int // in instructions
}

// find returns v as a text, and the matches of re in it: at most one, unless a
// flag is "g" or all are asked for.
func (p *patterns) find(v, re, flags any, all bool) (string, *pattern, [][]int, error) {
	text, ok := v.(string)
	source, isString := re.(string)
	options, isFlags := flags.(string)
	if !ok || !isString || !isFlags && flags != nil {
		return "", nil, nil, &limitError{"a regular expression, its flags and what it is applied to must be strings"}
	}
	r, err := p.compile(source, options)
	if err != nil {
		return "", nil, nil, err
	}
	if r.size*len(text) > maxMatching {
		return "", nil, nil, &limitError{"a text is too long for the regular expression"}
	}
	if !all && !strings.Contains(options, "g") {
		return text, r, r.FindAllStringSubmatchIndex(text, 1), nil
	}
	found := r.all(text)
	if len(found) > maxMatches {
		return "", nil, nil, &limitError{"a regular expression matches too often"}
	}
	return text, r, found, nil
}

func (p *patterns) compile(source, flags string) (*pattern, error) {
	key := [2]string{source, flags}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.known[key]; r != nil {
		return r, nil
	}
	r, err := compilePattern(source, flags)
	if err != nil {
		return nil, err
	}
	if p.known == nil || len(p.known) == maxPatterns {
		p.known = map[[2]string]*pattern{}
	}
	p.known[key] = r
	return r, nil
}

func compilePattern(source, flags string) (*pattern, error) {
	if len(source) > maxPattern {
		return nil, &limitError{"a regular expression is too long"}
	}
	for _, f := range flags {
		switch f {
		case 'g':
		case 'i':
			source = "(?i)" + source
		case 'm':
			source = "(?s)" + source
		default:
			return nil, &limitError{"a regular expression has a flag other than g, i and m"}
		}
	}
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, &limitError{"a regular expression is not valid"}
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, &limitError{"a regular expression is not valid"}
	}
	r := &pattern{size: len(program.Inst)}
	if r.Regexp, err = regexp.Compile(source); err != nil {
		return nil, &limitError{"a regular expression is not valid"}
	}
	if r.after, err = regexp.Compile(`\A(?s:.)(?:` + source + `)`); err != nil {
		return nil, &limitError{"a regular expression is not valid"}
	}
	return r, nil
}

// all returns the matches of r in text, at most one more than is allowed.
func (r *pattern) all(text string) [][]int {
	found := r.FindAllStringSubmatchIndex(text, maxMatches+1)
	every := make([][]int, 0, len(found))
	for i, m := range found {
		every = append(every, m)
		if m[0] == m[1] || i+1 < len(found) && found[i+1][0] == m[1] {
			continue
		}
		if empty := r.emptyAt(text, m[1]); empty != nil {
			every = append(every, empty)
		}
	}
	return every[:min(len(every), maxMatches+1)]
}

// emptyAt returns the empty match at a place that is not the beginning.
func (r *pattern) emptyAt(text string, at int) []int {
	_, width := utf8.DecodeLastRuneInString(text[:at])
	m := r.after.FindStringSubmatchIndex(text[at-width:])
	if m == nil || m[1] != width {
		return nil
	}
	m[0] = width
	for i := range m {
		if m[i] >= 0 {
			m[i] += at - width
		}
	}
	return m
}

func (p *patterns) test(v, re, flags any) any {
	_, _, found, err := p.find(v, re, withoutG(flags), false)
	if err != nil {
		return err
	}
	return len(found) > 0
}

// withoutG spares a test the search for all.
func withoutG(flags any) any {
	if s, ok := flags.(string); ok {
		return strings.ReplaceAll(s, "g", "")
	}
	return flags
}

// match yields an object for each match, made as it is asked for.
func (p *patterns) match(v, re, flags any) gojq.Iter {
	text, r, found, err := p.find(v, re, flags, false)
	if err != nil {
		return gojq.NewIter(err)
	}
	return &matches{text: text, names: r.SubexpNames(), found: found}
}

// matches counts characters as it goes, which jq wants to know the place in: to
// count from the beginning each time would be quadratic.
type matches struct {
	text  string
	names []string
	found [][]int
	at    int // byte up to which was counted
	count int // characters up to there
}

// Next makes matches an iterator of gojq.
func (m *matches) Next() (any, bool) {
	if len(m.found) == 0 {
		return nil, false
	}
	f := m.found[0]
	m.found = m.found[1:]
	m.count += utf8.RuneCountInString(m.text[m.at:f[0]])
	m.at = f[0]
	captures := make([]any, len(f)/2-1)
	for i := range captures {
		captures[i] = m.capture(i+1, f[2*i+2], f[2*i+3])
	}
	return map[string]any{
		"offset": m.count, "length": utf8.RuneCountInString(m.text[f[0]:f[1]]),
		"string": m.text[f[0]:f[1]], "captures": captures,
	}, true
}

func (m *matches) capture(i, from, to int) any {
	var name any
	if m.names[i] != "" {
		name = m.names[i]
	}
	if from < 0 {
		return map[string]any{"name": name, "offset": -1, "length": 0, "string": nil}
	}
	return map[string]any{
		"name": name, "offset": m.count + utf8.RuneCountInString(m.text[m.at:from]),
		"length": utf8.RuneCountInString(m.text[from:to]), "string": m.text[from:to],
	}
}

// splits yields what lies between the matches.
func (p *patterns) splits(v, re, flags any) gojq.Iter {
	text, _, found, err := p.find(v, re, flags, true)
	if err != nil {
		return gojq.NewIter(err)
	}
	parts := make([]any, 0, len(found)+1)
	at := 0
	for _, m := range found {
		parts = append(parts, text[at:m[0]])
		at = m[1]
	}
	return gojq.NewIter(append(parts, text[at:])...)
}

// splice yields the text with its matches replaced: by the first of what the
// filter made of each, by the second, and so on.
func (p *patterns) splice(v, re, flags, made any) gojq.Iter {
	text, _, found, err := p.find(v, re, flags, false)
	if err != nil {
		return gojq.NewIter(err)
	}
	replacements, _ := made.([]any)
	times := 1
	for _, r := range replacements {
		each, _ := r.([]any)
		times = max(times, len(each))
	}
	if times*len(text) > maxText {
		return gojq.NewIter[error](&limitError{"a replacement has too many results"})
	}
	results := make([]any, times)
	for i := range results {
		results[i] = spliced(text, found, replacements, i)
	}
	return gojq.NewIter(results...)
}

// spliced puts the nth replacement of each match in its place. A match that has
// fewer stays as it is.
func spliced(text string, found [][]int, replacements []any, n int) any {
	var b strings.Builder
	at := 0
	for i, m := range found {
		each, _ := replacements[i].([]any)
		if n >= len(each) {
			continue
		}
		s, ok := each[n].(string)
		if !ok {
			return &limitError{"a text can only be replaced by a string"}
		}
		if b.WriteString(text[at:m[0]]); b.Len()+len(s) > maxText {
			return &limitError{"a text with replacements would be too long"}
		}
		b.WriteString(s)
		at = m[1]
	}
	b.WriteString(text[at:])
	return b.String()
}
