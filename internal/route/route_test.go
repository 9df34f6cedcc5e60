package route

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
	"github.com/google/go-cmp/cmp"
)

// request makes an exchange out of "METHOD http://host/path?query" and pairs of
// header names and values.
func request(tb testing.TB, line string, headers ...string) *airside.Exchange {
	tb.Helper()
	method, target, _ := strings.Cut(line, " ")
	u, err := url.Parse(target)
	if err != nil {
		tb.Fatal(err)
	}
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return airside.NewExchange(r, nil)
}

// table makes a table of matches, named by their index.
func table(tb testing.TB, matches ...Match) *Table {
	tb.Helper()
	entries := make([]Entry, len(matches))
	for i, m := range matches {
		entries[i] = Entry{Name: fmt.Sprint(i), Match: m, Value: i}
	}
	tab, err := New(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return tab
}

// check asks for the entry named want; "" for none, "405" for a wrong method and
// "400" for an invalid request.
func check(t *testing.T, tab *Table, x *airside.Exchange, want string) {
	t.Helper()
	e, result, err := tab.Match(x)
	got := map[Result]string{NotFound: "", WrongMethod: "405"}[result]
	switch {
	case err != nil:
		got = "400"
		if airside.AsError(err).Code != airside.Invalid {
			t.Errorf("got the error %v, want the code %s", err, airside.Invalid)
		}
	case result == Found:
		got = e.Name
	}
	if (e != nil) != (result == Found) || got != want {
		t.Errorf("%s %s%s: got %q (%v, %v), want %q", x.Request.Method, x.Request.Host, x.Request.URL, got, result, err, want)
	}
	winner := ""
	for _, s := range tab.Explain(x) {
		if s.Why == "" {
			t.Errorf("Explain gives no reason for %s", s.Entry.Name)
		}
		if s.Matched {
			winner = s.Entry.Name
		}
	}
	if result == Found && winner != e.Name || result != Found && winner != "" {
		t.Errorf("%s %s: Explain says %q, Match %q", x.Request.Method, x.Request.URL, winner, got)
	}
}

func when(ok bool, err error) func(*airside.Exchange) (bool, error) {
	return func(*airside.Exchange) (bool, error) { return ok, err }
}

func TestPaths(t *testing.T) {
	tab := table(t,
		Match{Path: "/*"},                   // 0
		Match{Path: "/prefix/*"},            // 1
		Match{Path: "/prefix/deeper/*"},     // 2
		Match{Path: "/items/{id}"},          // 3
		Match{Path: "/items/special"},       // 4
		Match{Path: "/items/{id}/*"},        // 5
		Match{Path: "/items/{id}/parts"},    // 6
		Match{Path: "/items/{id}/parts/"},   // 7
		Match{Path: "/a/{x}/c"},             // 8
		Match{Path: "/a/b/{y}"},             // 9
		Match{Path: "/{any}/b/c/d"},         // 10
		Match{Path: "/p/{x}/*"},             // 11
		Match{Path: "/p/q/*"},               // 12
		Match{Path: "/{w}/q/r/*"},           // 13
		Match{Path: "/exact"},               // 14
		Match{Path: "/ünïcode and space/*"}, // 15
		Match{Path: "/"},                    // 16
	)
	for _, tt := range []struct{ path, want string }{
		{"/", "16"},
		{"/x", "0"},
		{"/x/", "0"},
		{"/x/y/z", "0"},
		{"/prefix", "1"},
		{"/prefix/", "1"},
		{"/prefix/x", "1"},
		{"/prefixx", "0"},
		{"/prefi", "0"},
		{"/prefix/deeper", "2"},
		{"/prefix/deeper/", "2"},
		{"/prefix/deeperx", "1"},
		{"/prefix/deeper/a/b/c", "2"},
		{"/items", "0"},
		{"/items/", "0"},
		{"/items/7", "3"},
		{"/items/special", "4"},
		{"/items/7/", "5"},
		{"/items/special/x", "5"},
		{"/items/7/parts", "6"},
		{"/items/7/parts/", "7"},
		{"/items/7/parts/1", "5"},
		{"/a/b/c", "9"},
		{"/a/x/c", "8"},
		{"/a/b/d", "9"},
		{"/a/b", "0"},
		{"/a/b/c/d", "10"},
		{"/p/q", "12"},
		{"/p/q/x", "12"},
		{"/p/x/y", "11"},
		{"/p/q/r", "13"},
		{"/p/q/r/s", "13"},
		{"/p/", "0"},
		{"/p", "0"},
		{"/exact", "14"},
		{"/exact/", "0"},
		{"/Exact", "0"},
		{"/%C3%BCn%C3%AFcode%20and%20space/x", "15"},
	} {
		check(t, tab, request(t, "GET http://h"+tt.path), tt.want)
	}
	for _, path := range []string{"", "*", "x"} {
		x := request(t, "OPTIONS http://h/")
		x.Request.URL.Path = path
		check(t, tab, x, "")
	}
}

// The longest patterns do not match what is longer.
func TestLongestPatterns(t *testing.T) {
	stem := "/{p}" + strings.Repeat("/x", maxSegments-1)
	tab := table(t, Match{Path: stem}, Match{Path: "/*"}, Match{Path: stem + "/*", Methods: []string{"PUT"}})
	path := strings.Repeat("/x", maxSegments)
	check(t, tab, request(t, "GET http://h"+path), "0")
	check(t, tab, request(t, "GET http://h"+path+"/"), "1")
	check(t, tab, request(t, "GET http://h"+path+"/x"), "1")
	check(t, tab, request(t, "GET http://h"+path+path), "1")
	check(t, tab, request(t, "PUT http://h"+path+path), "2")
	check(t, tab, request(t, "GET http://h"+path[2:]), "1")
}

func TestHosts(t *testing.T) {
	tab := table(t,
		Match{Path: "/a", Hosts: []string{"API.example.com", "[2001:DB8::1]", "::1", "10.0.0.1"}}, // 0
		Match{Path: "/a", Hosts: []string{"*.example.com"}},                                       // 1
		Match{Path: "/a/b/c", Hosts: []string{"*.example.com"}},                                   // 2
		Match{Path: "/*", Hosts: []string{"*.deep.example.com"}},                                  // 3
		Match{Path: "/a/b/c"},                                                   // 4
		Match{Path: "/a", Methods: []string{"GET"}},                             // 5
		Match{Hosts: []string{"only.example.org", "www.example.org."}},          // 6
		Match{Path: "/a", Hosts: []string{"*.net"}},                             // 7
		Match{Path: "/m/*", Hosts: []string{"x.net"}, Methods: []string{"PUT"}}, // 8
		Match{Path: "/m/*", Methods: []string{"GET", "PUT"}},                    // 9
	)
	for _, tt := range []struct{ target, want string }{
		{"api.example.com/a", "0"},
		{"api.example.com:8443/a", "0"},
		{"[2001:db8::1]:80/a", "0"},
		{"[::1]/a", "0"},
		{"10.0.0.1:80/a", "0"},
		{"api.example.com/a/b/c", "2"},
		{"www.example.com/a", "1"},
		{"a.b.example.com/a", "1"},
		{"example.com/a", "5"},
		{"xexample.com/a", "5"},
		{"x.deep.example.com/a", "3"},
		{"x.deep.example.com/a/b/c", "3"},
		{"deep.example.com/a", "1"},
		{"other/a/b/c", "4"},
		{"only.example.org/x/y", "6"},
		{"www.example.org/x", "6"},
		{"only.example.org/a", "6"},
		{"a.b.c.d.net/a", "7"},
		{"net/a", "5"},
		{"x.net/a", "7"},
		{"x.net/m", "9"},
		{"/a", "5"},
		{"/x", ""},
	} {
		x := request(t, "GET http://h/")
		host, path, _ := strings.Cut(tt.target, "/")
		x.Request.Host, x.Request.URL.Path = host, "/"+path
		check(t, tab, x, tt.want)
	}
	check(t, tab, request(t, "PUT http://x.net/m"), "8")
	check(t, tab, request(t, "POST http://x.net/m"), "405")
	if diff := cmp.Diff([]string{"GET", "PUT"}, tab.Allow(request(t, "POST http://x.net/m"))); diff != "" {
		t.Errorf("Allow over all hosts (-want +got)\n%s", diff)
	}
}

func TestConditions(t *testing.T) {
	tab := table(t,
		Match{Path: "/a"}, // 0
		Match{Path: "/a", Methods: []string{"GET", "HEAD"}},                                                 // 1
		Match{Path: "/a", Headers: map[string]string{"x-a": "1"}},                                           // 2
		Match{Path: "/a", Headers: map[string]string{"X-A": "1", "x-b": "*"}},                               // 3
		Match{Path: "/a", Headers: map[string]string{"X-A": "*"}},                                           // 4
		Match{Path: "/a", Query: map[string]string{"q": "1"}},                                               // 5
		Match{Path: "/a", Query: map[string]string{"q": "1", "r s": "ü&"}},                                  // 6
		Match{Path: "/a", Query: map[string]string{"empty": ""}},                                            // 7
		Match{Path: "/a", Query: map[string]string{"empty": ""}, When: when(true, nil)},                     // 8
		Match{Path: "/a", Query: map[string]string{"no": "1"}, When: when(false, nil)},                      // 9
		Match{Path: "/a", Query: map[string]string{"no": "1"}, When: when(true, errors.New("no such key"))}, // 10
		Match{Path: "/a", Query: map[string]string{"no": "1"}},                                              // 11
		Match{Path: "/a", Query: map[string]string{"p": "*"}},                                               // 12
	)
	for _, tt := range []struct {
		line    string
		headers []string
		want    string
	}{
		{"POST http://h/a", nil, "0"},
		{"GET http://h/a", nil, "1"},
		{"HEAD http://h/a", nil, "1"},
		{"get http://h/a", nil, "0"},
		{"GET http://h/a?q=1", []string{"X-A", "1"}, "1"},
		{"POST http://h/a", []string{"X-A", "1"}, "2"},
		{"POST http://h/a", []string{"X-A", "2"}, "4"},
		{"POST http://h/a", []string{"X-A", "1", "X-B", ""}, "3"},
		{"POST http://h/a", []string{"X-B", "1"}, "0"},
		{"POST http://h/a", []string{"X-A", "1", "X-A", "1"}, "2"},
		{"POST http://h/a", []string{"X-A", "1", "X-A", "2"}, "400"},
		{"POST http://h/a", []string{"X-A", "3", "X-A", "2"}, "400"},
		{"POST http://h/a", []string{"X-B", "3", "X-B", "2"}, "0"},
		{"POST http://h/a?q=1", []string{"X-A", "1"}, "2"},
		{"POST http://h/a?q=1", nil, "5"},
		{"POST http://h/a?q=2", nil, "0"},
		{"POST http://h/a?q", nil, "0"},
		{"POST http://h/a?%71=%31&x=%", nil, "5"},
		{"POST http://h/a?q=1&q=%31", nil, "5"},
		{"POST http://h/a?q=1&q=2", nil, "400"},
		{"POST http://h/a?q=1&q", nil, "400"},
		{"POST http://h/a?q=1&&r+s=%C3%BC%26", nil, "6"},
		{"POST http://h/a?q=1&r%20s=%c3%bc%26", nil, "6"},
		{"POST http://h/a?q=1;r%20s=%c3%bc%26", nil, "0"},
		{"POST http://h/a?empty", nil, "8"},
		{"POST http://h/a?empty=", nil, "8"},
		{"POST http://h/a?empty=1", nil, "0"},
		{"POST http://h/a?no=1", nil, "11"},
		{"POST http://h/a?p=1&p=2", nil, "12"},
	} {
		check(t, tab, request(t, tt.line, tt.headers...), tt.want)
	}
}

// Among as many conditions, one for a value comes before one for presence,
// whatever the order.
func TestValueBeforePresence(t *testing.T) {
	for _, order := range [][]string{{"*", "1"}, {"1", "*"}} {
		tab := table(t, Match{Headers: map[string]string{"A": order[0]}}, Match{Headers: map[string]string{"A": order[1]}})
		e, _, err := tab.Match(request(t, "GET http://h/", "A", "1"))
		if err != nil || e.Match.Headers["A"] != "1" {
			t.Errorf("got %v, %v, want the route for the value", e, err)
		}
	}
}

func TestWrongMethod(t *testing.T) {
	tab := table(t,
		Match{Path: "/a", Methods: []string{"GET"}},
		Match{Path: "/*", Methods: []string{"PUT", "GET"}, Headers: map[string]string{"X-A": "1"}},
		Match{Path: "/w", Methods: []string{"GET"}, When: when(false, nil)},
	)
	for _, tt := range []struct {
		line, want string
		headers    []string
		allow      []string
	}{
		{line: "POST http://h/a", want: "405", allow: []string{"GET"}},
		{line: "POST http://h/a", headers: []string{"X-A", "1"}, want: "405", allow: []string{"GET", "PUT"}},
		{line: "PUT http://h/a", headers: []string{"X-A", "1"}, want: "1", allow: []string{"GET"}},
		{line: "POST http://h/b", want: ""},
		{line: "POST http://h/b", headers: []string{"X-A", "1", "X-A", "2"}, want: ""},
		{line: "POST http://h/w", want: ""},
	} {
		x := request(t, tt.line, tt.headers...)
		check(t, tab, x, tt.want)
		if diff := cmp.Diff(tt.allow, tab.Allow(x)); diff != "" {
			t.Errorf("%s: Allow (-want +got)\n%s", tt.line, diff)
		}
	}
}

func TestPathValues(t *testing.T) {
	tab := table(t, Match{Path: "/users/{user}/files/{file}/*"}, Match{Path: "/users/{user}/x/y", Methods: []string{"PUT"}}, Match{Path: "/users/{other}/*"})
	x := request(t, "GET http://h/users/J%C3%BCrgen%20M/files/a.txt/deep/er")
	check(t, tab, x, "0")
	if got, want := [2]string{x.Request.PathValue("user"), x.Request.PathValue("file")}, [2]string{"Jürgen M", "a.txt"}; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	x = request(t, "GET http://h/users/1/x/y")
	check(t, tab, x, "2")
	if got := [2]string{x.Request.PathValue("user"), x.Request.PathValue("other")}; got != [2]string{"", "1"} {
		t.Errorf("got %q, want only the value of the route that won", got)
	}
	x = request(t, "GET http://h/users/1/x/y")
	if tab.Explain(x); x.Request.PathValue("other") != "" {
		t.Error("Explain sets path values")
	}
}

func TestExplain(t *testing.T) {
	tab := table(t,
		Match{Path: "/a", Hosts: []string{"other", "*.other"}},
		Match{Path: "/*", Methods: []string{"GET"}},
		Match{Path: "/a", Methods: []string{"PUT", "POST"}},
		Match{Path: "/a", Headers: map[string]string{"X-A": "1"}},
		Match{Path: "/a", Query: map[string]string{"q": "1"}},
		Match{Path: "/a", When: when(false, nil)},
		Match{Path: "/a", When: when(false, errors.New("no such key: x"))},
		Match{Path: "/b", Hosts: []string{"other"}},
	)
	words := func(x *airside.Exchange) (got []string) {
		for _, s := range tab.Explain(x) {
			got = append(got, fmt.Sprintf("%s %v: %s", s.Entry.Name, s.Matched, s.Why))
		}
		return got
	}
	want := []string{
		"2 false: the method is GET, not PUT or POST",
		`3 false: the header X-A is "2", not "1"`,
		"4 false: the query parameter q is missing",
		"5 false: its when is false",
		"6 false: its when fails, which counts as false: no such key: x",
		"1 true: host, path and all conditions fit: it is the most specific that does",
	}
	if diff := cmp.Diff(want, words(request(t, "GET http://h/a", "X-A", "2"))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want = []string{
		"2 false: the method is DELETE, not PUT or POST",
		"3 false: the header X-A was sent more than once, with different values; send it once",
	}
	if diff := cmp.Diff(want, words(request(t, "DELETE http://h/a", "X-A", "1", "X-A", "2"))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want = []string{
		"1 false: the method is POST, not GET",
		`7 false: the host is "h", not other`,
	}
	if diff := cmp.Diff(want, words(request(t, "POST http://h/b"))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
