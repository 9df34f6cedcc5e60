package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
	"pgregory.net/rapid"
)

// A refRule is an entry under one of its hosts, as the reference sees it.
type refRule struct {
	index int
	host  string
	m     Match
}

// refMatch is the specification in its plainest form: sort all rules that have
// host and path in common with the request, take the first that fits. want is
// as for check.
func refMatch(entries []Entry, x *airside.Exchange) string {
	var rules []refRule
	for i, e := range entries {
		hosts := e.Match.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			if refHost(h, x.Request.Host) && refPath(e.Match.Path, x.Request.URL.Path) {
				rules = append(rules, refRule{i, h, e.Match})
			}
		}
	}
	slices.SortFunc(rules, refCompare)
	wrongMethod := false
	for _, r := range rules {
		method := len(r.m.Methods) == 0 || slices.Contains(r.m.Methods, x.Request.Method)
		holds, ambiguous := refHolds(r.m, x)
		switch {
		case method && ambiguous:
			return "400"
		case method && holds:
			return entries[r.index].Name
		case holds && !ambiguous:
			wrongMethod = true
		}
	}
	if wrongMethod {
		return "405"
	}
	return ""
}

func refHost(pattern, host string) bool {
	u := url.URL{Host: host}
	name := u.Hostname()
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, suffix) && name != suffix
	}
	return pattern == "" || strings.EqualFold(pattern, name)
}

func refSegments(pattern string) (segments []string, prefix bool) {
	if pattern == "" {
		pattern = "/*"
	}
	segments = strings.Split(pattern, "/")[1:]
	if n := len(segments) - 1; segments[n] == "*" {
		return segments[:n], true
	}
	return segments, false
}

func refPath(pattern, path string) bool {
	segments, prefix := refSegments(pattern)
	if !strings.HasPrefix(path, "/") {
		return false
	}
	have := strings.Split(path, "/")[1:]
	if len(have) < len(segments) || !prefix && len(have) > len(segments) {
		return false
	}
	for i, s := range segments {
		if s != have[i] && (s == "" || s[0] != '{' || have[i] == "") {
			return false
		}
	}
	return true
}

func refCompare(a, b refRule) int {
	wild := func(r refRule) int { return strings.Count(r.host, "*") }
	sa, pa := refSegments(a.m.Path)
	sb, pb := refSegments(b.m.Path)
	exact := func(m Match) (n int) {
		for _, c := range []map[string]string{m.Headers, m.Query} {
			for _, v := range c {
				if v != "*" {
					n++
				}
			}
		}
		return n
	}
	segment := func(s string) int { return strings.Count(s, "{") }
	return cmp.Or(
		-yesBefore(a.host == "", b.host == ""),
		cmp.Compare(wild(a), wild(b)),
		cmp.Compare(len(b.host), len(a.host)),
		-yesBefore(pa, pb),
		cmp.Compare(len(sb), len(sa)),
		slices.CompareFunc(sa, sb, func(x, y string) int { return cmp.Compare(segment(x), segment(y)) }),
		yesBefore(len(a.m.Methods) > 0, len(b.m.Methods) > 0),
		cmp.Compare(len(b.m.Headers), len(a.m.Headers)),
		cmp.Compare(len(b.m.Query), len(a.m.Query)),
		cmp.Compare(exact(b.m), exact(a.m)),
		yesBefore(a.m.When != nil, b.m.When != nil),
		cmp.Compare(a.index, b.index),
	)
}

// refHolds asks headers before the query, each in the order of the names, and
// stops at the first that does not hold or is ambiguous.
func refHolds(m Match, x *airside.Exchange) (holds, ambiguous bool) {
	query := map[string][]string{}
	for pair := range strings.SplitSeq(x.Request.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		k, _ = url.QueryUnescape(k)
		v, _ = url.QueryUnescape(v)
		if pair != "" {
			query[k] = append(query[k], v)
		}
	}
	for i, want := range []map[string]string{m.Headers, m.Query} {
		have := []map[string][]string{x.Request.Header, query}[i]
		names := make([]string, 0, len(want))
		for name := range want {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			values := slices.Compact(slices.Sorted(slices.Values(have[name])))
			switch {
			case len(values) == 0:
				return false, false
			case want[name] == "*":
			case len(values) > 1:
				return false, true
			case values[0] != want[name]:
				return false, false
			}
		}
	}
	if m.When == nil {
		return true, false
	}
	ok, err := m.When(x)
	return ok && err == nil, false
}

// newWithout makes a table of the entries, less those that are refused.
func newWithout(entries []Entry) (*Table, []Entry) {
	for {
		tab, err := New(entries)
		if err == nil {
			return tab, entries
		}
		wrong := map[int]bool{}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			panic(err)
		}
		for _, err := range joined.Unwrap() {
			e, ok := errors.AsType[*EntryError](err)
			if !ok {
				panic(err)
			}
			wrong[e.Index] = true
		}
		var rest []Entry
		for i, e := range entries {
			if !wrong[i] {
				rest = append(rest, e)
			}
		}
		entries = rest
	}
}

// agree compares the table with the reference.
func agree(t rapid.TB, tab *Table, entries []Entry, x *airside.Exchange) {
	t.Helper()
	e, result, err := tab.Match(x)
	got := map[Result]string{NotFound: "", WrongMethod: "405"}[result]
	switch {
	case err != nil:
		got = "400"
	case result == Found:
		got = e.Name
	}
	if want := refMatch(entries, x); got != want {
		for _, e := range entries {
			t.Logf("%s: %+v", e.Name, e.Match)
		}
		t.Fatalf("%s %s %s %v: got %q, want %q; %+v", x.Request.Method, x.Request.Host, x.Request.URL, x.Request.Header, got, want, tab.Explain(x))
	}
	if result == Found {
		refValues(t, e, x)
	}
	if (result == WrongMethod) != (result != Found && err == nil && len(tab.Allow(x)) > 0) {
		t.Fatalf("got %v, but Allow lists %v", result, tab.Allow(x))
	}
	if steps := tab.Explain(x); result == Found && (!steps[len(steps)-1].Matched || steps[len(steps)-1].Entry != e) {
		t.Fatalf("Explain ends with %+v, want %s", steps, e.Name)
	}
}

// refValues checks the path values of a match.
func refValues(t rapid.TB, e *Entry, x *airside.Exchange) {
	t.Helper()
	have := strings.Split(x.Request.URL.Path, "/")[1:]
	segments, _ := refSegments(e.Match.Path)
	for i, s := range segments {
		if name := strings.Trim(s, "{}"); s != name && x.Request.PathValue(name) != have[i] {
			t.Fatalf("%s %s: got %s=%q, want %q", e.Match.Path, x.Request.URL.Path, name, x.Request.PathValue(name), have[i])
		}
	}
}

func drawMatch(t *rapid.T) Match {
	pick := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
	var m Match
	for range rapid.IntRange(0, 2).Draw(t, "hosts") {
		m.Hosts = append(m.Hosts, pick("host", "h", "a.h", "*.h", "*.a.h", "b.a.h"))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "segments") {
		m.Path += "/" + pick("segment", "a", "b", fmt.Sprintf("{p%d}", i))
	}
	m.Path += pick("end", "", "", "/", "/*", "/*")
	for _, method := range []string{"GET", "PUT"} {
		if rapid.IntRange(0, 3).Draw(t, "method") == 0 {
			m.Methods = append(m.Methods, method)
		}
	}
	conds := func(label string) map[string]string {
		c := map[string]string{}
		for range max(0, rapid.IntRange(-3, 2).Draw(t, label)) {
			c[pick("name", "A", "B")] = pick("value", "1", "2", "*")
		}
		return c
	}
	m.Headers, m.Query = conds("headers"), conds("query")
	switch rapid.IntRange(0, 9).Draw(t, "when") {
	case 0:
		m.When = when(true, nil)
	case 1:
		m.When = when(false, nil)
	case 2:
		m.When = when(true, errors.New("no such key"))
	}
	return m
}

func drawRequest(t *rapid.T) *airside.Exchange {
	pick := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
	path := ""
	for range rapid.IntRange(0, 5).Draw(t, "segments") {
		path += "/" + pick("segment", "a", "b", "c")
	}
	path += pick("end", "", "/")
	var query []string
	for range max(0, rapid.IntRange(-2, 3).Draw(t, "pairs")) {
		query = append(query, pick("pair", "A=1", "A=%31", "A=2", "B=1", "%42=2", "A", "", "C=1"))
	}
	h := http.Header{}
	for range max(0, rapid.IntRange(-2, 3).Draw(t, "lines")) {
		h.Add(pick("name", "A", "B"), pick("value", "1", "2"))
	}
	return airside.NewExchange(&http.Request{
		Method: pick("method", "GET", "PUT", "POST"), Host: pick("host", "h", "a.h", "b.a.h:80", "c.b.a.h", "x", "", "[::1]:80"),
		URL: &url.URL{Path: path, RawQuery: strings.Join(query, "&")}, Header: h,
	}, nil)
}

// The table finds what the plainest reading of the rules finds.
func TestMatchAgreesWithReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matches := rapid.SliceOfN(rapid.Custom(drawMatch), 0, 20).Draw(t, "routes")
		entries := make([]Entry, len(matches))
		for i, m := range matches {
			entries[i] = Entry{Name: fmt.Sprint(i), Match: m}
		}
		tab, entries := newWithout(entries)
		for range 10 {
			agree(t, tab, entries, drawRequest(t))
		}
	})
}

// The order of the file decides only between routes that nothing else tells
// apart.
func TestOrderWrittenComesLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matches := rapid.SliceOfN(rapid.Custom(drawMatch), 2, 10).Draw(t, "routes")
		entries := make([]Entry, len(matches))
		for i, m := range matches {
			entries[i] = Entry{Name: fmt.Sprint(i), Match: m}
		}
		_, entries = newWithout(entries)
		shuffled, _ := newWithout(rapid.Permutation(entries).Draw(t, "shuffled"))
		tab, _ := newWithout(entries)
		x := drawRequest(t)
		a, ra, err := tab.Match(x)
		b, rb, err2 := shuffled.Match(x)
		if (err != nil) != (err2 != nil) || ra != rb {
			t.Skip("which of two equals is asked first may decide whether one is asked that is ambiguous")
		}
		if ra != Found || a.Name == b.Name {
			return
		}
		one, other := refRule{m: a.Match}, refRule{m: b.Match}
		one.host, other.host = bestHost(a.Match, x), bestHost(b.Match, x)
		if refCompare(one, other) != 0 {
			t.Fatalf("got %+v and, in another order, %+v", a.Match, b.Match)
		}
	})
}

func bestHost(m Match, x *airside.Exchange) string {
	var rules []refRule
	for _, h := range m.Hosts {
		if refHost(h, x.Request.Host) {
			rules = append(rules, refRule{host: h})
		}
	}
	if len(rules) == 0 {
		return ""
	}
	slices.SortFunc(rules, refCompare)
	return rules[0].host
}

func FuzzMatch(f *testing.F) {
	f.Add("h /a/{x}/*\n*.h /a/b GET\n- /a/* - X-A=1 q=*", "GET", "b.h:80", "/a/b", "q=1&q=2", "1")
	f.Add("- /{a}/{b}\n- /a/{c}\n- /*", "PUT", "[::1]:80", "/a//", "%71=%", "")
	f.Fuzz(func(t *testing.T, routes, method, host, path, query, header string) {
		var entries []Entry
		for line := range strings.SplitSeq(routes, "\n") {
			fields := append(strings.Split(line, " "), "", "", "", "", "")
			e := Entry{Name: fmt.Sprint("r", len(entries)), Match: Match{Path: fields[1]}}
			if fields[0] != "-" {
				e.Match.Hosts = []string{strings.TrimSuffix(strings.ToLower(fields[0]), ".")}
			}
			if fields[2] != "" && fields[2] != "-" {
				e.Match.Methods = []string{fields[2]}
			}
			if name, value, ok := strings.Cut(fields[3], "="); ok {
				e.Match.Headers = map[string]string{http.CanonicalHeaderKey(name): value}
			}
			if name, value, ok := strings.Cut(fields[4], "="); ok {
				e.Match.Query = map[string]string{name: value}
			}
			entries = append(entries, e)
		}
		tab, entries := newWithout(entries)
		x := airside.NewExchange(&http.Request{
			Method: method, Host: host, URL: &url.URL{Path: path, RawQuery: query},
			Header: http.Header{"X-A": strings.Split(header, ",")},
		}, nil)
		// Of hosts and queries that are not canonical the reference knows nothing.
		if _, err := url.ParseRequestURI("http://" + host + "/"); err != nil || strings.ContainsAny(host, "@%*/:[]\\") || host != strings.ToLower(host) {
			_, _, _ = tab.Match(x)
			return
		}
		if _, err := url.QueryUnescape(query); err != nil {
			_, _, _ = tab.Match(x)
			return
		}
		agree(t, tab, entries, x)
	})
}
