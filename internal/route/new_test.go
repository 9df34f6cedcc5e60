package route

import (
	"errors"
	"strings"
	"testing"
)

// Every wrong entry is told, with its index, its field and words that help.
func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		match       Match
		field, says string
	}{
		{Match{Path: "a"}, "path", `path "a": must begin with a slash`},
		{Match{Path: "GET /a"}, "path", "must begin with a slash"},
		{Match{Path: "/a/*b"}, "path", `path "/a/*b": * may only stand at the end, after a slash`},
		{Match{Path: "/a*"}, "path", "* may only stand at the end"},
		{Match{Path: "/*/a"}, "path", "* may only stand at the end"},
		{Match{Path: "/a/**"}, "path", "* may only stand at the end"},
		{Match{Path: "/a/*/*"}, "path", "* may only stand at the end"},
		{Match{Path: "*"}, "path", "must begin with a slash"},
		{Match{Path: "/a//b"}, "path", "empty segment"},
		{Match{Path: "//*"}, "path", "empty segment"},
		{Match{Path: "/a//*"}, "path", "empty segment"},
		{Match{Path: "/a/../b"}, "path", "dot segment"},
		{Match{Path: "/./*"}, "path", "dot segment"},
		{Match{Path: "/a%20b"}, "path", "write the path decoded"},
		{Match{Path: "/a?b=c"}, "path", "without query"},
		{Match{Path: "/a#b"}, "path", "'#' has no place here"},
		{Match{Path: `/a\b`}, "path", "no request can have it"},
		{Match{Path: "/a\n"}, "path", "control character"},
		{Match{Path: "/a\xff"}, "path", "UTF-8"},
		{Match{Path: "/x{id}"}, "path", `segment "x{id}": a parameter is a whole segment`},
		{Match{Path: "/{id}x"}, "path", "a parameter is a whole segment"},
		{Match{Path: "/{id"}, "path", "a parameter is a whole segment"},
		{Match{Path: "/{{id}}"}, "path", "a parameter is a whole segment"},
		{Match{Path: "/{}"}, "path", "the name of a parameter"},
		{Match{Path: "/{a-b}"}, "path", "the name of a parameter"},
		{Match{Path: "/{1a}"}, "path", "the name of a parameter"},
		{Match{Path: "/{id...}"}, "path", "the name of a parameter"},
		{Match{Path: "/{id}/{id}"}, "path", "two parameters called id"},
		{Match{Path: strings.Repeat("/{a}", 33)}, "path", "more than 32 segments"},
		{Match{Path: strings.Repeat("/a", 33) + "/*"}, "path", "more than 32 segments"},
		{Match{Hosts: []string{""}}, "host", "leave it out"},
		{Match{Hosts: []string{"*"}}, "host", "leave it out"},
		{Match{Hosts: []string{"https://a"}}, "host", "has a scheme"},
		{Match{Hosts: []string{"a:80"}}, "host", `host "a:80": has a port`},
		{Match{Hosts: []string{"[::1]:80"}}, "host", "has a port"},
		{Match{Hosts: []string{"a.*.b"}}, "host", "* may only stand for the leftmost label"},
		{Match{Hosts: []string{"*a.b"}}, "host", "leftmost label"},
		{Match{Hosts: []string{"*.*.b"}}, "host", "leftmost label"},
		{Match{Hosts: []string{"*.1.2.3.4"}}, "host", "nothing below an IP address"},
		{Match{Hosts: []string{"bücher.example"}}, "host", "xn--"},
		{Match{Hosts: []string{"a b"}}, "host", "no request can have it"},
		{Match{Hosts: []string{"a/b"}}, "host", "no request can have it"},
		{Match{Hosts: []string{"a", "A."}}, "host", `host "A." is given twice`},
		{Match{Methods: []string{""}}, "method", "leave it out"},
		{Match{Methods: []string{"get"}}, "method", `method "get": methods are written in upper case: GET`},
		{Match{Methods: []string{"GE T"}}, "method", "no request can have it"},
		{Match{Methods: []string{"GET", "GET"}}, "method", "given twice"},
		{Match{Headers: map[string]string{"": "x"}}, "headers", "no header has this name"},
		{Match{Headers: map[string]string{"a b": "x"}}, "headers", `headers "a b": no header has this name`},
		{Match{Headers: map[string]string{"host": "x"}}, "headers", "use host"},
		{Match{Headers: map[string]string{"connection": "x"}}, "headers", "taken away"},
		{Match{Headers: map[string]string{"x": "a\n"}}, "headers", "control character"},
		{Match{Headers: map[string]string{"x": " a"}}, "headers", "begins or ends with a space"},
		{Match{Headers: map[string]string{"x-a": "1", "X-A": "2"}}, "headers", "given twice"},
		{Match{Query: map[string]string{"": "x"}}, "query", "the name is empty"},
		{Match{Query: map[string]string{"a": "\x00"}}, "query", "NUL"},
	} {
		_, err := New([]Entry{{Match: Match{Path: "/fine"}}, {Match: tt.match}})
		e, ok := errors.AsType[*EntryError](err)
		if !ok {
			t.Errorf("%+v: got %v, want an EntryError", tt.match, err)
			continue
		}
		if e.Index != 1 || e.Field != tt.field || !strings.Contains(e.Error(), tt.says) {
			t.Errorf("%+v: got index %d, field %q, %v; want 1, %q, %q", tt.match, e.Index, e.Field, e, tt.field, tt.says)
		}
	}
}

// All errors are told, in the order of the entries.
func TestNewTellsAll(t *testing.T) {
	_, err := New([]Entry{
		{Name: "a", Match: Match{Path: "/a"}},
		{Match: Match{Path: "x", Hosts: []string{"*"}, Methods: []string{"get"}}},
		{Name: "b", Match: Match{Path: "/a"}},
		{Match: Match{Path: "/*b"}},
	})
	want := []string{
		`routes[1]: path "x"`, `routes[1]: method "get"`, `routes[1]: host "*"`,
		`routes[2]: route "b" (routes[2]) can never match: route "a" (routes[0]) has the same`, `routes[3]: path "/*b"`,
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %q, want %d lines", lines, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("got %q, want %q", lines[i], want[i])
		}
	}
}

// A route that can never match is refused; one that can at times is not.
func TestDuplicates(t *testing.T) {
	yes := when(true, nil)
	for _, tt := range []struct {
		name string
		a, b Match
		dup  bool
	}{
		{"same", Match{Path: "/a"}, Match{Path: "/a"}, true},
		{"everything", Match{}, Match{Path: "/*"}, true},
		{"names of parameters", Match{Path: "/{a}/x"}, Match{Path: "/{b}/x"}, true},
		{"prefix and exact", Match{Path: "/a/*"}, Match{Path: "/a"}, false},
		{"hosts", Match{Hosts: []string{"a", "b"}}, Match{Hosts: []string{"B"}}, true},
		{"other hosts", Match{Hosts: []string{"a"}}, Match{Hosts: []string{"a", "b"}}, false},
		{"wildcard", Match{Hosts: []string{"a.b"}}, Match{Hosts: []string{"*.b"}}, false},
		{"methods", Match{Methods: []string{"GET", "PUT"}}, Match{Methods: []string{"PUT"}}, true},
		{"other methods", Match{Methods: []string{"GET"}}, Match{Methods: []string{"GET", "PUT"}}, false},
		{"no method", Match{Methods: []string{"GET"}}, Match{}, false},
		{"method after none", Match{}, Match{Methods: []string{"GET"}}, false},
		{"headers", Match{Headers: map[string]string{"x-a": "1"}}, Match{Headers: map[string]string{"X-A": "1"}}, true},
		{"other headers", Match{Headers: map[string]string{"X-A": "1"}}, Match{Headers: map[string]string{"X-A": "2"}}, false},
		{"query", Match{Query: map[string]string{"a": "1"}}, Match{Query: map[string]string{"a": "1"}}, true},
		{"header or query", Match{Headers: map[string]string{"A": "1"}}, Match{Query: map[string]string{"A": "1"}}, false},
		{"when", Match{}, Match{When: yes}, false},
		{"when first", Match{When: yes}, Match{}, false},
		{"two whens", Match{When: yes}, Match{When: yes}, false},
	} {
		_, err := New([]Entry{{Name: "one", Match: tt.a}, {Name: "two", Match: tt.b}})
		if (err != nil) != tt.dup {
			t.Errorf("%s: got %v, want an error: %v", tt.name, err, tt.dup)
		}
		if err != nil && (!strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), `"two"`)) {
			t.Errorf("%s: got %v, want both names", tt.name, err)
		}
	}
	_, err := New([]Entry{{Match: Match{Methods: []string{"GET"}}}, {Match: Match{Methods: []string{"PUT"}}}, {Match: Match{Methods: []string{"GET", "PUT"}}}})
	if err == nil || !strings.Contains(err.Error(), "routes[2]) can never match") && !strings.Contains(err.Error(), "route routes[2] can never match") {
		t.Errorf("got %v, want the route that two others cover refused", err)
	}
}
