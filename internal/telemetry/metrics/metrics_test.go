package metrics

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// However many paths, callers and models there are, series and memory stay within the
// bound, and no exchange is lost: what has no series of its own is counted as overflow.
func TestSeriesAreBounded(t *testing.T) {
	const bound, many = 500, 100_000
	m := made(t, bound, true)
	seen := edge.Seen{Method: "GET", Major: 2}
	before := memory()
	for i := range many {
		x := &airside.Exchange{Route: fmt.Sprint("route", i%3), Upstream: "models", Caller: airside.Caller{ID: fmt.Sprint("caller", i)}, Call: airside.Call{Target: fmt.Sprint("model", i)}}
		seen.Path = fmt.Sprint("/path/", i)
		seen.Method = fmt.Sprint("METHOD", i)
		m.Ended(x, &airside.Outcome{Status: 200 + i%300, Duration: time.Duration(i) * time.Microsecond}, &seen)
	}
	grown := memory() - before
	if got := len(m.series.all()); got != bound {
		t.Errorf("%d series, want the bound %d", got, bound)
	}
	if got := m.count(); got != many {
		t.Errorf("%d exchanges were counted, want %d", got, many)
	}
	if got := m.overflow.Load(); got < many-2*bound {
		t.Errorf("%d exchanges of overflow, want nearly %d", got, many)
	}
	families := m.gather()
	for _, f := range families {
		if len(f.Metric) > bound+1 {
			t.Errorf("%s has %d series, want at most %d", f.GetName(), len(f.Metric), bound+1)
		}
	}
	const most = 8 << 20
	t.Logf("%d distinct callers, paths and models: %d series, %d KiB", many, bound, grown>>10)
	if grown > most {
		t.Errorf("memory grew by %d bytes, want at most %d", grown, most)
	}
}

func memory() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Callers beyond their half are counted together, and the routes they ask are still told
// apart.
func TestManyCallersHideNoRoutes(t *testing.T) {
	m := made(t, 20, true)
	for i := range 100 {
		m.ended(&airside.Exchange{Route: "a", Caller: airside.Caller{ID: fmt.Sprint(i)}}, 200, time.Second)
	}
	m.ended(&airside.Exchange{Route: "b", Caller: airside.Caller{ID: "late"}}, 503, time.Second)
	var late []string
	for _, s := range m.series.all() {
		if s.key.route == "b" {
			late = s.key.labels()
		}
	}
	if want := []string{Overflow, "", "503", "GET", "503", "b", "1.1"}; !slices.Equal(late, want) {
		t.Errorf("got %q, want %q", late, want)
	}
	if got := m.count(); got != 101 {
		t.Errorf("%d exchanges were counted, want 101", got)
	}
}

// Callers are counted only where somebody asked for it.
func TestCallersAreOptional(t *testing.T) {
	m := made(t, 100, false)
	for i := range 10 {
		m.ended(&airside.Exchange{Route: "a", Caller: airside.Caller{ID: fmt.Sprint(i)}}, 200, time.Second)
	}
	if got := len(m.series.all()); got != 1 {
		t.Errorf("%d series, want 1", got)
	}
}

// Goroutines that find, add and drop series at the same time lose nothing but what was
// dropped, and never make two series of one key.
func TestConcurrently(t *testing.T) {
	const workers, each = 8, 4000
	m := made(t, 10_000, false)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				m.ended(&airside.Exchange{Route: fmt.Sprint((i*7 + w) % 1000)}, 200, time.Duration(i))
			}
		})
	}
	all.Go(func() {
		for range 20 {
			m.gather()
			m.Set(Options{Series: 10_000, Keep: func(string, string) bool { return true }})
		}
	})
	all.Wait()
	if got := m.count(); got != workers*each {
		t.Errorf("%d exchanges were counted, want %d", got, workers*each)
	}
	if got := len(m.series.all()); got != 1000 {
		t.Errorf("%d series, want 1000", got)
	}
}

// A reload keeps what was counted, but not of routes and upstreams that are gone.
func TestReload(t *testing.T) {
	m := made(t, 100, false)
	for _, route := range []string{"stays", "goes", ""} {
		m.ended(&airside.Exchange{Route: route}, 200, time.Second)
	}
	m.Set(Options{Series: 100, Keep: func(route, _ string) bool { return route != "goes" }})
	m.ended(&airside.Exchange{Route: "stays"}, 200, time.Second)
	got := map[string]uint64{}
	var sum total
	for _, s := range m.series.all() {
		s.total(&sum)
		got[s.key.route] = sum.seconds[m.layout.seconds(int64(time.Second))]
	}
	if diff := cmp.Diff(map[string]uint64{"stays": 2, "": 1}, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	m.Set(Options{Off: true})
	m.ended(&airside.Exchange{Route: "stays"}, 200, time.Second)
	if got := m.count(); got != 3 {
		t.Errorf("%d exchanges, want 3: nothing is counted while it is off", got)
	}
}

// Tries have a bound of their own, and are dropped with their upstream.
func TestTries(t *testing.T) {
	m := made(t, 3, false)
	tries := m.Tries("a")
	for status := range 10 {
		tries("GET", 200+status, nil, time.Second)
	}
	tries("GET", 0, airside.Errorf(airside.Timeout, ""), time.Second)
	if got := len(named(t, m, "http_client_request_duration_seconds").Metric); got != 4 {
		t.Errorf("%d series, want 3 and that of the overflow", got)
	}
	if got := m.overflow.Load(); got != 8 {
		t.Errorf("%d beyond the bound, want 8", got)
	}
	m.Set(Options{Series: 3, Keep: func(_, upstream string) bool { return upstream != "a" }})
	m.Tries("b")("PUT", 0, airside.Errorf(airside.Timeout, ""), time.Second)
	all := m.tries.all()
	if len(all) != 1 {
		t.Fatalf("%d series, want 1", len(all))
	}
	if got, want := all[0].key.tryLabels(), []string{"b", "timeout", "PUT", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m.Set(Options{Off: true})
	m.Tries("b")("PUT", 200, nil, time.Second)
	if got := len(m.tries.all()); got != 1 {
		t.Errorf("%d series, want 1: nothing is counted while it is off", got)
	}
}

func TestLabels(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome airside.Outcome
		method  string
		major   int
		want    []string // error_type, method, status, version
	}{
		{"well", airside.Outcome{Status: 200}, "GET", 1, []string{"", "GET", "200", "1.1"}},
		{"a client's fault", airside.Outcome{Status: 404, Err: airside.Errorf(airside.NotFound, "")}, "PATCH", 2, []string{"not_found", "PATCH", "404", "2"}},
		{"an agent's status", airside.Outcome{Status: 503}, "POST", 3, []string{"503", "POST", "503", "3"}},
		{"an agent's 404", airside.Outcome{Status: 404}, "QUERY", 1, []string{"", "QUERY", "404", "1.1"}},
		{"cut short", airside.Outcome{Status: 200, Err: errors.Join(nil, airside.Errorf(airside.UpstreamFailed, ""))}, "GET", 1, []string{"upstream_failed", "GET", "200", "1.1"}},
		{"unknown error", airside.Outcome{Status: 500, Err: errors.New("x")}, "GET", 1, []string{"internal", "GET", "500", "1.1"}},
		{"own code", airside.Outcome{Status: 500, Err: airside.Errorf("of_a_company", "")}, "GET", 1, []string{"_OTHER", "GET", "500", "1.1"}},
		{"no request", airside.Outcome{Status: 400, Err: airside.Errorf(airside.Invalid, "")}, "", 0, []string{"invalid_request", "_OTHER", "400", ""}},
		{"a method of its own", airside.Outcome{Status: 200}, "get", 1, []string{"", "_OTHER", "200", "1.1"}},
		{"nothing sent", airside.Outcome{Err: airside.Errorf(airside.Canceled, "")}, "GET", 1, []string{"canceled", "GET", "", "1.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := keyOf(&airside.Exchange{Route: "r", Upstream: "u"}, &tt.outcome, &edge.Seen{Method: tt.method, Major: tt.major})
			want := []string{"", "u", tt.want[0], tt.want[1], tt.want[2], "r", tt.want[3]}
			if got := k.labels(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Every code of the gateway has an error_type of its own.
func TestEveryCodeIsNamed(t *testing.T) {
	for _, c := range []airside.Code{
		airside.Invalid, airside.Unauthenticated, airside.Denied, airside.NotFound, airside.MethodNotAllowed, airside.RequestTimeout,
		airside.TooLarge, airside.URITooLong, airside.UnsupportedMedia, airside.Misdirected, airside.Blocked, airside.RateLimited,
		airside.HeadersTooLarge, airside.ExpectationFailed, airside.VersionUnsupported, airside.Canceled, airside.Internal,
		airside.Unsupported, airside.UpstreamFailed, airside.Unavailable, airside.Timeout,
	} {
		if k := faultOf(airside.Errorf(c, "")); k == faultOther || faults[k] != c {
			t.Errorf("%s has no index", c)
		}
	}
}
