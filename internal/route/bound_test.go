package route

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

// A load is a shape of table, of n routes, and a request for the i-th of them.
type load struct {
	name  string
	match func(i int) Match
	ask   func(i int) (host, path string)
}

const host = "gateway.example.com:8443"

var loads = []load{
	{
		"exact",
		func(i int) Match { return Match{Path: fmt.Sprintf("/api/service-%d/items", i)} },
		func(i int) (string, string) { return host, fmt.Sprintf("/api/service-%d/items", i) },
	},
	{
		"prefix",
		func(i int) Match { return Match{Path: fmt.Sprintf("/api/service-%d/*", i)} },
		func(i int) (string, string) { return host, fmt.Sprintf("/api/service-%d/items/42", i) },
	},
	{
		"param",
		func(i int) Match { return Match{Path: fmt.Sprintf("/api/service-%d/{id}/parts/{part}", i)} },
		func(i int) (string, string) { return host, fmt.Sprintf("/api/service-%d/42/parts/7", i) },
	},
	{
		"hosts", // a hundred paths each
		func(i int) Match {
			return Match{Hosts: []string{fmt.Sprintf("tenant-%d.example.com", i/100)}, Path: fmt.Sprintf("/service-%d/*", i%100)}
		},
		func(i int) (string, string) {
			return fmt.Sprintf("tenant-%d.example.com:8443", i/100), fmt.Sprintf("/service-%d/items/42", i%100)
		},
	},
	{
		"wildcards",
		func(i int) Match {
			return Match{Hosts: []string{fmt.Sprintf("*.tenant-%d.example.com", i/100)}, Path: fmt.Sprintf("/service-%d/{id}/*", i%100)}
		},
		func(i int) (string, string) {
			return fmt.Sprintf("a.b.tenant-%d.example.com:8443", i/100), fmt.Sprintf("/service-%d/items/42", i%100)
		},
	},
}

func (l load) entries(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{Name: fmt.Sprint(i), Match: l.match(i), Value: i}
	}
	return entries
}

func exchange(host, path string) *airside.Exchange {
	return airside.NewExchange(&http.Request{Method: "POST", Host: host, URL: &url.URL{Path: path}, Header: http.Header{}}, nil)
}

// requests are for routes all over the table, so that caches do not help.
func (l load) requests(n int) ([]*airside.Exchange, []int) {
	r := rand.New(rand.NewPCG(1, 2))
	xs, want := make([]*airside.Exchange, 1024), make([]int, 1024)
	for i := range xs {
		want[i] = r.IntN(n)
		xs[i] = exchange(l.ask(want[i]))
	}
	return xs, want
}

// Every route of a large table is found, and the table is made in time that
// grows with its size and no faster. How long exactly, BenchmarkNew says: a test
// runs on machines that do other work.
func TestLargeTables(t *testing.T) {
	for _, l := range loads {
		entries := l.entries(100_000)
		start := time.Now()
		tab, err := New(entries)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: New took %v", l.name, d)
		}
		xs, want := l.requests(100_000)
		for i, x := range xs {
			e, result, err := tab.Match(x)
			if err != nil || result != Found || e.Value != want[i] {
				t.Fatalf("%s: %s%s: got %+v, %v, %v, want %d", l.name, x.Request.Host, x.Request.URL, e, result, err, want[i])
			}
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	for _, l := range loads {
		tab, err := New(l.entries(1000))
		if err != nil {
			t.Fatal(err)
		}
		xs, _ := l.requests(1000)
		if n := testing.AllocsPerRun(10, func() {
			for _, x := range xs[:16] {
				_, _, _ = tab.Match(x)
			}
		}); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", l.name, n)
		}
	}
	tab := table(t,
		Match{Path: "/a", Methods: []string{"GET"}, Headers: map[string]string{"X-A": "1"}, Query: map[string]string{"q": "1 2", "r": "*"}, When: when(true, nil)},
		Match{Path: "/*", Methods: []string{"GET"}},
	)
	for _, line := range []string{"GET http://h/a?x=1&q=1%202&r=", "GET http://h/a?q=1", "POST http://h/a"} {
		x := request(t, line, "X-A", "1")
		if n := testing.AllocsPerRun(100, func() { _, _, _ = tab.Match(x) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", line, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		for _, l := range loads {
			b.Run(fmt.Sprintf("%d/%s", n, l.name), func(b *testing.B) {
				tab, err := New(l.entries(n))
				if err != nil {
					b.Fatal(err)
				}
				xs, _ := l.requests(n)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if _, result, _ := tab.Match(xs[i%len(xs)]); result != Found {
						b.Fatal("not found")
					}
					i++
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, l := range loads {
		b.Run(l.name, func(b *testing.B) {
			entries := l.entries(100_000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(entries); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// arrangements returns patterns of depth segments in every arrangement of
// literals and parameters but for the first segment, ended by end.
func arrangements(depth int, end string) []Entry {
	entries := make([]Entry, 0, 1<<depth)
	for bits := range 1 << depth {
		path := ""
		for i := range depth {
			if bits&(1<<i) != 0 {
				path += fmt.Sprintf("/{p%d}", i)
			} else {
				path += "/x"
			}
		}
		entries = append(entries, Entry{Match: Match{Path: path + end, Methods: []string{"GET"}}})
	}
	return entries
}

// tooLong is far more than any look-up takes, on a busy machine and with the race
// detector, and far less than what the tests below guard against.
const tooLong = 100 * time.Millisecond

// elapsed is the time of a look-up, the least of some.
func elapsed(tab *Table, x *airside.Exchange) time.Duration {
	best := time.Hour
	for range 5 {
		start := time.Now()
		_, _, _ = tab.Match(x)
		best = min(best, time.Since(start))
	}
	return best
}

// The worst request for the worst table that is accepted is answered in bounded
// time: no part of the trie is searched more than once a depth.
func TestAdversarialTable(t *testing.T) {
	for _, end := range []string{"", "/*"} {
		tab, err := New(arrangements(9, end)) // 2+4+...+512 = 1,022 shapes
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{
			strings.Repeat("/x", 9), strings.Repeat("/x", 10), strings.Repeat("/x", 4000), "/x/x/x/x/x/x/x/x/" + strings.Repeat("x", 1<<16),
			strings.Repeat("/"+strings.Repeat("x", 1<<12), 16),
		} {
			x := exchange(host, path)
			if d := elapsed(tab, x); d > tooLong {
				t.Errorf("%d bytes, ended by %q: got %v", len(path), end, d)
			}
		}
	}
}

// A table that arranges parameters in 2^17 ways, so that a request could match
// that many patterns, is refused, once.
func TestTooManyShapes(t *testing.T) {
	_, err := New(arrangements(17, ""))
	if err == nil || !strings.Contains(err.Error(), "arrange parameters and literals in more than 1024 ways") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one error", err)
	}
}

// Patterns of the greatest depth, of one literal turned into a parameter after
// the other, match backwards: a matcher that tries again from every segment
// would take 2^31 steps.
func TestBacktracking(t *testing.T) {
	var entries []Entry
	for i := range maxSegments {
		path := ""
		for j := range maxSegments {
			switch {
			case j == maxSegments-1:
				path += fmt.Sprintf("/end%d", i)
			case j <= i:
				path += fmt.Sprintf("/{p%d}", j)
			default:
				path += "/x"
			}
		}
		entries = append(entries, Entry{Name: fmt.Sprint(i), Match: Match{Path: path}})
	}
	tab, err := New(append(entries[:maxSegments-1], Entry{Name: "all", Match: Match{Path: "/*"}}))
	if err != nil {
		t.Fatal(err)
	}
	stem := strings.Repeat("/x", maxSegments-1)
	for _, tt := range []struct{ path, want string }{{stem + "/end0", "0"}, {stem + "/end30", "30"}, {stem + "/y", "all"}, {strings.Repeat("/x", 4000), "all"}} {
		x := exchange(host, tt.path)
		check(t, tab, x, tt.want)
		if d := elapsed(tab, x); d > tooLong {
			t.Errorf("%s: got %v", tt.want, d)
		}
	}
}

// The number of segments of a request does not matter to the look-up.
func TestManySegments(t *testing.T) {
	tab, err := New(loads[1].entries(1000))
	if err != nil {
		t.Fatal(err)
	}
	x := exchange(host, "/api/service-7"+strings.Repeat("/x", 4000))
	e, result, err := tab.Match(x)
	if err != nil || result != Found || e.Name != "7" {
		t.Fatalf("got %v, %v, %v, want 7", e, result, err)
	}
	if d := elapsed(tab, x); d > tooLong {
		t.Errorf("got %v", d)
	}
}

// Many routes that ask for one query parameter search the query once.
func TestManyQueries(t *testing.T) {
	entries := make([]Entry, 10_000)
	for i := range entries {
		entries[i] = Entry{Match: Match{Path: "/a", Query: map[string]string{"tenant": fmt.Sprint(i)}, Methods: []string{"POST"}}}
	}
	tab, err := New(entries)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange(host, "/a")
	x.Request.URL.RawQuery = strings.Repeat("tenan%74=none&", 4000)
	if d := elapsed(tab, x); d > tooLong {
		t.Errorf("got %v", d)
	}
}

// Hosts have no bound on wildcards but their own length.
func TestManyLabels(t *testing.T) {
	var hosts []string
	name := "a"
	for len(name) < 250 {
		hosts = append(hosts, "*."+name)
		name = "a." + name
	}
	tab := table(t, Match{Hosts: hosts, Path: "/a/{id}/*", Methods: []string{"GET"}})
	x := exchange(name, "/a/b/c")
	check(t, tab, x, "405")
	if d := elapsed(tab, x); d > tooLong {
		t.Errorf("got %v", d)
	}
}
