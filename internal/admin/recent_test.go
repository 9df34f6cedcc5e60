package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
)

// one is an exchange with that path and status, for a recorder.
func one(path string, status int) (*airside.Exchange, *airside.Outcome, *edge.Seen) {
	x := &airside.Exchange{ID: "baa77a0fd5d8846f4b885f5b9da8f429", Route: "r", Upstream: "u", Endpoint: "http://127.0.0.1:9001", Client: airside.Client{Addr: "127.0.0.1"}, Caller: airside.Caller{ID: "ward"}, Call: airside.Call{Operation: "GET"}}
	return x, &airside.Outcome{Status: status, Duration: time.Millisecond, Sent: 5}, &edge.Seen{Method: "GET", Host: "a.example", Path: path, Major: 1, Listener: ":1", Start: time.Now()}
}

func (r *Recorder) list(t *testing.T, query string) []Exchange {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	q, err := parseQuery(values)
	if err != nil {
		t.Fatal(err)
	}
	return r.live.Load().ring.newest(&q.filter, q.limit, r.mask)
}

// TestRing proves that exactly the newest exchanges are kept, newest first, whatever their
// size, and that they survive until the number changes.
func TestRing(t *testing.T) {
	r := NewRecorder(nil)
	r.Ended(one("/off", 200))
	r.Set(true, 10)
	for i := range 25 {
		x, o, s := one(fmt.Sprintf("/%d", i), 200)
		x.Caller.ID = strings.Repeat("é", i*20)
		r.Ended(x, o, s)
	}
	r.Set(true, 10)
	got := r.list(t, "")
	if len(got) != 10 || got[0].Path != "/24" || got[9].Path != "/15" || got[0].Number != 25 {
		t.Errorf("got %d: %+v", len(got), got)
	}
	if c := got[0].Caller; len(c) != 64 || strings.Trim(c, "é") != "" {
		t.Errorf("a long text is %q", c)
	}
	if got := r.list(t, "after=23&limit=1"); len(got) != 1 || got[0].Number != 25 {
		t.Errorf("after: %+v", got)
	}
	if got := r.list(t, "after=25"); len(got) != 0 {
		t.Errorf("after the last: %+v", got)
	}
	if r.Set(true, 0); len(r.list(t, "")) != 0 {
		t.Error("none are to be kept")
	}
	if r.Ended(one("/", 200)); r.live.Load().traffic.snapshot().Routes[0].Requests != 26 {
		t.Error("what was counted is lost")
	}
	sum := 0
	for _, n := range lengths() {
		sum += int(n)
	}
	if sum != slotTexts {
		t.Errorf("the texts of a slot may be %d bytes long, and there is room for %d", sum, slotTexts)
	}
}

// TestFilters proves what each parameter takes, and that what is not known is refused.
func TestFilters(t *testing.T) {
	r := NewRecorder(func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") })
	r.Set(true, 100)
	r.Ended(one("/a/1", 200))
	x, o, s := one("/b/hunter2", 502)
	x.Route, x.Caller.ID, s.Method, x.Failures = "other", "doctor", "POST", []error{errors.New("first")}
	o.Err = airside.Errorf(airside.UpstreamFailed, "the agent failed").Because(errors.New("dial hunter2"))
	r.Ended(x, o, s)
	x, o, s = one("/c", 404)
	x.Route, x.Upstream, x.Endpoint, s.Start = "", "", "", time.Now().Add(-time.Hour)
	o.Err = airside.Errorf(airside.NotFound, "no")
	r.Ended(x, o, s)
	x, o, s = one("/cut", 200)
	o.Err = errors.New("broken")
	r.Ended(x, o, s)
	x, o, s = one("/gone", 200)
	o.Err = context.Canceled
	r.Ended(x, o, s)
	for _, tt := range []struct{ query, want string }{
		{"", "/gone /cut /c /b/*** /a/1"},
		{"route=other", "/b/***"},
		{"route=", "/c"},
		{"status=404", "/c"},
		{"status=5xx", "/b/***"},
		{"failed=true", "/cut /b/***"},
		{"caller=doctor", "/b/***"},
		{"method=POST", "/b/***"},
		{"path=/a/", "/a/1"},
		{"upstream=u&limit=2", "/gone /cut"},
		{"endpoint=http://127.0.0.1:9001&status=5xx", "/b/***"},
		{"since=5m", "/gone /cut /b/*** /a/1"},
		{"since=" + time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339), "/gone /cut /c /b/*** /a/1"},
		{"route=none", ""},
	} {
		var got []string
		for _, e := range r.list(t, tt.query) {
			got = append(got, e.Path)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.query, got, tt.want)
		}
	}
	if e := r.list(t, "status=5xx")[0]; e.Code != "upstream_failed" || !strings.Contains(e.Error, "dial ***") || e.Tries != 2 || !e.Failed {
		t.Errorf("got %+v", e)
	}
	for _, bad := range []string{"x=1", "status=9", "status=9xx", "limit=0", "limit=20001", "limit=a", "since=x", "failed=1", "follow=yes", "after=-1", "route=a&route=b", "path=" + strings.Repeat("x", 300)} {
		values, _ := url.ParseQuery(bad)
		if _, err := parseQuery(values); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestRecorderTogether proves, with the race detector, that writers, readers, followers
// and changes do not disturb each other.
func TestRecorderTogether(t *testing.T) {
	r := NewRecorder(nil)
	r.Set(true, 8)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 500 {
				x, o, s := one(fmt.Sprintf("/%d", i), 200)
				x.Route = fmt.Sprint("r", n%5)
				r.Ended(x, o, s)
			}
		})
	}
	all.Go(func() {
		for i := range 100 {
			for _, e := range r.live.Load().ring.newest(&filter{}, 10, r.mask) {
				if e.Status != 200 || len(e.Path) != 2 || e.Host != "a.example" {
					t.Errorf("a torn exchange: %+v", e)
				}
			}
			r.Set(true, 8+i%2)
		}
	})
	all.Wait()
	total := uint64(0)
	for _, c := range r.live.Load().traffic.snapshot().Routes {
		total += c.Requests
	}
	if total != 2000 {
		t.Errorf("%d are counted, want 2000", total)
	}
}

// TestRecorderAllocates proves that an exchange costs no memory.
func TestRecorderAllocates(t *testing.T) {
	r := NewRecorder(nil)
	r.Set(true, 100)
	x, o, s := one("/a", 200)
	r.Ended(x, o, s)
	if n := testing.AllocsPerRun(1000, func() { r.Ended(x, o, s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecorder(b *testing.B) {
	r := NewRecorder(nil)
	r.Set(true, 1000)
	x, o, s := one("/agent/chat", 200)
	b.ReportAllocs()
	for b.Loop() {
		r.Ended(x, o, s)
	}
}

// TestQuantiles proves that what is read of a histogram is off by 6 % at most, and that
// differences count what was between.
func TestQuantiles(t *testing.T) {
	c := newTraffic()
	for i := 1; i <= 10_000; i++ {
		c.count("r", &airside.Outcome{Status: 200, Duration: time.Duration(i) * 10 * time.Microsecond}, false)
	}
	before := c.snapshot().Routes[0]
	for _, tt := range []struct{ got, want float64 }{{before.P50, 0.05}, {before.P95, 0.095}, {before.P99, 0.099}} {
		if math.Abs(tt.got-tt.want) > 0.0625*tt.want {
			t.Errorf("got %v, want %v", tt.got, tt.want)
		}
	}
	for range 100 {
		c.count("r", &airside.Outcome{Status: 502, Duration: 20 * time.Second}, true)
	}
	d := c.snapshot().Routes[0].Since(before)
	if d.Requests != 100 || d.Failed != 100 || d.Status.Class5 != 100 || d.Status.Class2 != 0 || math.Abs(d.P50-20) > 1.3 || len(d.Buckets) != 1 {
		t.Errorf("between: %+v", d)
	}
	for i := range buckets - 1 {
		_, below := bucketEnds(i)
		if above, _ := bucketEnds(i + 1); above != below {
			t.Fatalf("a gap between buckets %d and %d: %v, %v", i, i+1, below, above)
		}
		if got := bucketOf(time.Duration(math.Round(below*1e6)) * time.Microsecond); got != i+1 {
			t.Fatalf("%v s is in bucket %d, want %d", below, got, i+1)
		}
	}
	if got := bucketOf(math.MaxInt64); got != buckets-1 {
		t.Errorf("the longest is in bucket %d", got)
	}
	for i := range 2 * maxCounted {
		c.count(fmt.Sprint(i), &airside.Outcome{Status: 200}, false)
	}
	if n := len(c.snapshot().Routes); n != maxCounted+1 {
		t.Errorf("%d routes are counted", n)
	}
}

// TestFollow proves that exchanges are sent as they end, that followers are bounded, that
// one who goes makes room, and that the end of the server ends them.
func TestFollow(t *testing.T) {
	g := start(t, plain, config.Admin{})
	open := func() *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.admin.Addr().String()+"/api/v1/exchanges?follow=true&status=200", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := airsidetest.Client(t, airsidetest.H1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var all []*http.Response
	for range maxFollowers {
		resp := open()
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("got %d", resp.StatusCode)
		}
		all = append(all, resp)
	}
	if resp := open(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: got %d", resp.StatusCode)
	}
	g.send("GET", "/none", "")
	g.send("GET", "/", "")
	in := bufio.NewReader(all[0].Body)
	var text string
	for !strings.Contains(text, "\ndata: ") {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		text += line
	}
	if !strings.Contains(text, "id: 2\nevent: exchange\ndata: {\"number\":2,") {
		t.Errorf("got %q", text)
	}
	if err := g.admin.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		r.Body.Close()
	}
	if l := g.recorder.live.Load().follow; l.any() {
		t.Errorf("%d follow a server that has ended", len(*l.list.Load()))
	}
}

// TestSlowFollower proves that nobody waits for a follower that does not read.
func TestSlowFollower(t *testing.T) {
	r := NewRecorder(nil)
	r.Set(true, 0)
	l := r.live.Load().follow
	f, err := l.add(filter{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * followerRoom {
		r.Ended(one("/", 200))
	}
	select {
	case <-f.slow:
	default:
		t.Error("it was not dropped")
	}
	if l.remove(f); l.any() {
		t.Error("it is still told")
	}
}

// TestLists proves that only so many lists of exchanges are made at a time, and that a
// server which has ended begins nothing any more.
func TestLists(t *testing.T) {
	g := start(t, plain, config.Admin{})
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api/v1/exchanges", nil)
		g.admin.ServeHTTP(w, r)
		return w
	}
	for range maxLists {
		g.admin.listing <- struct{}{}
	}
	if w := get(); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one too many: got %d %v", w.Code, w.Header())
	}
	<-g.admin.listing
	for range 2 { // each makes room again
		if w := get(); w.Code != 200 {
			t.Errorf("with room for one: got %d", w.Code)
		}
	}
	if err := g.admin.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("after the end: %v", p)
		}
	}()
	t.Errorf("after the end: answered %d", get().Code)
}
