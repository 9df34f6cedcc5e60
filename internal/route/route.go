// Package route holds the match table: which route answers a request. The table
// is immutable and may be used by any number of goroutines.
//
// The most specific route that fits wins, whatever the order of the file. The
// order is that of the Kubernetes Gateway API (HTTPRoute), decided by the first
// of these in which two routes differ:
//
//  1. host: an exact name, then the longest wildcard, then none;
//  2. path: a pattern that is matched to its end before a prefix; of prefixes the
//     one with more segments; then, from left to right, a literal segment before
//     a parameter;
//  3. a method before none;
//  4. more headers; 5. more query parameters; 6. of these, more that ask for a
//     value and not only for presence ("*");
//  7. a when before none;
//  8. the order written.
//
// All conditions of a route must hold. Where they do not, the next route is
// asked, be its path or its host less specific.
package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
)

// A Match says which requests a route answers. The zero Match is all of them.
type Match struct {
	// Hosts are exact names or IP addresses, or "*.example.com", which matches
	// any name below example.com, however many labels deep, but not itself.
	// They have no port; that of a request does not matter. None: any host.
	Hosts []string

	// Path is a pattern, compared with the decoded path of the request: exact
	// ("/items"); with parameters, each a whole segment that is not empty
	// ("/items/{id}"); and with "/*" at the end a prefix: "/items/*" matches
	// "/items", "/items/" and everything below. Empty: as "/*".
	Path string

	// Methods are exact and in upper case: GET does not imply HEAD, and browsers
	// ask for OPTIONS first. None: any method.
	Methods []string

	// Headers must be present with that value, or with any if the value is "*".
	// A header of which the request has lines of different values makes the
	// request invalid, unless only its presence is asked for.
	Headers map[string]string

	// Query is as Headers, for the decoded parameters of the query.
	Query map[string]string

	// When must be true. An error, such as for a key that is absent, counts as
	// false: a condition that keeps requests away from a less specific route
	// must not depend on what a client may leave out. It runs last.
	When func(*airside.Exchange) (bool, error)
}

// An Entry is a route: its name, what it matches, and what the caller wants to
// find again.
type Entry struct {
	Name  string
	Match Match
	Value any
}

// A Result says how a look-up ended.
type Result uint8

// The results of a look-up.
const (
	NotFound    Result = iota // no route fits
	Found                     // a route fits
	WrongMethod               // a route would fit but for the method; see [Table.Allow]
)

// An EntryError says which entry of the table is wrong.
type EntryError struct {
	Index int    // of the entry, as given to [New]
	Field string // "path", "host", "method", "headers" or "query"
	Err   error  // complete in itself: it names the field and its value
}

func (e *EntryError) Error() string { return fmt.Sprintf("routes[%d]: %v", e.Index, e.Err) }

// Unwrap returns what is wrong.
func (e *EntryError) Unwrap() error { return e.Err }

// A Table finds routes. Make it with [New].
type Table struct {
	hosts map[string]*tree // by exact name
	wild  map[string]*tree // by what follows "*."
	any   *tree            // routes for every host
	rules []*rule          // in the order written
}

// New builds a table. The errors of all entries are joined, each an
// [*EntryError], in the order of the entries. Besides what cannot be understood,
// an entry is refused that can never match, because earlier ones have the same
// path, headers and query, cover its hosts and methods, and have no when.
//
// The entries are copied, their slices and maps are not to be changed.
func New(entries []Entry) (*Table, error) {
	entries = slices.Clone(entries)
	b := builder{
		t:   &Table{hosts: map[string]*tree{}, wild: map[string]*tree{}, any: &tree{}, rules: make([]*rule, 0, len(entries))},
		ids: map[string]int{},
	}
	for i := range entries {
		b.add(i, &entries[i])
	}
	b.finish()
	if len(b.errs) > 0 {
		slices.SortStableFunc(b.errs, func(a, b *EntryError) int { return a.Index - b.Index })
		joined := make([]error, len(b.errs))
		for i, e := range b.errs {
			joined[i] = e
		}
		return nil, errors.Join(joined...)
	}
	return b.t, nil
}

// Match finds the route of a request, whose host and path must be canonical (see
// package canon). The entry is nil unless the result is [Found]. The parameters
// of its path are set as path values of the request (see
// [http.Request.PathValue]), decoded.
//
// An error is an [airside.Error] with the code [airside.Invalid]: a route asks
// for a header or a query parameter that the request has with different values.
//
// Match does not allocate, but for the path values, and its time is bounded by
// the table: it does not grow with the number of segments of the path.
func (t *Table) Match(x *airside.Exchange) (*Entry, Result, error) {
	m := matcher{x: x, path: x.Request.URL.Path}
	t.run(&m)
	if m.err != nil {
		return nil, NotFound, m.err
	}
	if m.won != nil {
		m.won.setParams(x)
		return m.won.entry, Found, nil
	}
	if m.otherMethod && t.allows(x, nil) {
		return nil, WrongMethod, nil
	}
	return nil, NotFound, nil
}

// Allow lists the methods, sorted, with which some route would answer the
// request, for the header Allow of a 405. It is meant for [WrongMethod].
func (t *Table) Allow(x *airside.Exchange) []string {
	var methods []string
	t.allows(x, &methods)
	slices.Sort(methods)
	return slices.Compact(methods)
}

// allows reports whether a route fits but for the method, and collects the
// methods of all that do, unless methods is nil.
func (t *Table) allows(x *airside.Exchange, methods *[]string) bool {
	m := matcher{x: x, path: x.Request.URL.Path, mode: otherMethods, allow: methods}
	t.run(&m)
	return m.won != nil
}

// run asks the trees of all hosts that fit, the most specific first.
func (t *Table) run(m *matcher) {
	if m.path == "" || m.path[0] != '/' {
		return
	}
	if host := withoutPort(m.x.Request.Host); host != "" {
		if tree := t.hosts[host]; tree != nil && m.search(tree) {
			return
		}
		for i := strings.IndexByte(host, '.'); i >= 0 && len(t.wild) > 0; {
			suffix := host[i+1:]
			if tree := t.wild[suffix]; tree != nil && m.search(tree) {
				return
			}
			next := strings.IndexByte(suffix, '.')
			if next < 0 {
				break
			}
			i += 1 + next
		}
	}
	m.search(t.any)
}

// withoutPort is the name or address of a canonical host.
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || host[len(host)-1] == ']' {
		return host
	}
	return host[:i]
}
