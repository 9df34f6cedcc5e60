package airside

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openTrace(record bool) *Trace {
	t := new(Trace)
	c, _ := ReadTraceContext(http.Header{"Traceparent": {parent}, "Tracestate": {"a=1"}})
	t.Open(c, time.Now(), record)
	return t
}

// TestNoTrace proves that nothing can be done to an exchange that is not traced.
func TestNoTrace(t *testing.T) {
	var x Exchange
	s := x.Trace.Begin("x", SpanClient)
	s.Attr(slog.Int("n", 1))
	s.Event("e")
	s.Fail(errors.New("x"))
	s.End(nil)
	x.Trace.Event("e")
	x.Trace.Own().Attr(slog.Int("n", 1))
	h := http.Header{"Traceparent": {"theirs"}}
	s.Inject(h)
	if h.Get("Traceparent") != "theirs" || x.Trace.ID() != "" || x.Trace.SpanID() != "" || x.Trace.Sampled() || x.Trace.Recording() || s.Exists() || len(s.AppendLines(nil)) > 0 {
		t.Errorf("there is something of a trace that is none: %v", h)
	}
	if n := testing.AllocsPerRun(100, func() { x.Trace.Begin("x", SpanClient).End(nil) }); n > 0 {
		t.Errorf("nothing takes %g allocations", n)
	}
}

// TestNotRecorded proves that an exchange that is not recorded is still passed on, below
// its own span.
func TestNotRecorded(t *testing.T) {
	r := openTrace(false)
	s := r.Begin("x", SpanClient)
	s.Attr(slog.Int("n", 1))
	s.Event("e")
	s.End(nil)
	h := http.Header{"Tracestate": {"theirs"}}
	s.Inject(h)
	want := http.Header{"Traceparent": {"00-" + traceHex + "-" + r.SpanID() + "-01"}, "Tracestate": {"a=1"}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if !r.Seal(0, true) || len(r.Spans()) != 1 {
		t.Errorf("%d spans are recorded", len(r.Spans()))
	}
}

// TestTree proves where spans stand, and when they end.
func TestTree(t *testing.T) {
	r := openTrace(true)
	outer := r.Begin("outer", SpanInternal)
	inner := r.Begin("inner", SpanInternal)
	try1, try2 := r.Begin("try1", SpanClient), r.Begin("try2", SpanClient)
	try1.Fail(Errorf(Timeout, "slow"))
	try1.End(Errorf(Internal, "later"))
	inner.End(nil)
	r.Event("again")
	outer.End(Errorf(Denied, "no"))
	match := r.Begin("match", SpanInternal)
	match.End(nil)
	match.End(errors.New("twice"))
	if r.Seal(time.Hour, true) {
		t.Error("try2 is open, and nobody is said to have it")
	}
	try2.End(errors.New("too late"))
	type row struct {
		Name, Parent string
		Failed       Code
		Resent       int
		ToTheEnd     bool
	}
	names := map[SpanID]string{}
	var got []row
	for _, s := range r.Spans() {
		got = append(got, row{s.Name, names[s.Parent], s.Failed, s.Resent, s.End == time.Hour})
		names[s.ID] = s.Name
		if s.Kind == SpanServer {
			names[s.ID] = "exchange"
		}
	}
	want := []row{
		{ToTheEnd: true},
		{Name: "outer", Parent: "exchange", Failed: Denied},
		{Name: "inner", Parent: "outer"},
		{Name: "try1", Parent: "inner", Failed: Timeout},
		{Name: "try2", Parent: "inner", Resent: 1, ToTheEnd: true},
		{Name: "match", Parent: "exchange"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	for e := range r.Events(1) {
		if e.Name != "again" {
			t.Errorf("an event is called %q", e.Name)
		}
		return
	}
	t.Error("outer has no event")
}

// TestSealed proves that spans of an exchange that is over write nothing into the next.
func TestSealed(t *testing.T) {
	r := openTrace(true)
	old := r.Begin("old", SpanClient)
	r.Seal(0, false)
	r.Open(TraceContext{Trace: NewTraceID()}, time.Now(), true)
	old.Attr(slog.Int("n", 1))
	old.Event("e")
	old.End(errors.New("x"))
	h := http.Header{}
	old.Inject(h)
	r.Begin("new", SpanClient).End(nil)
	r.Seal(0, true)
	for i, s := range r.Spans() {
		for a := range r.Attrs(i) {
			t.Errorf("%s has %v", s.Name, a)
		}
		if s.Failed != "" {
			t.Errorf("%s failed", s.Name)
		}
	}
	if len(h) > 0 || len(r.Spans()) != 2 {
		t.Errorf("headers %v, %d spans", h, len(r.Spans()))
	}
}

// TestLate proves that who comes when an exchange is over finds its trace sealed: it may be
// read by whoever exports it.
func TestLate(t *testing.T) {
	r := openTrace(true)
	own := r.SpanID()
	r.Seal(time.Second, true)
	s := r.Begin("late", SpanClient, slog.Int("n", 1))
	s.Attr(slog.Int("n", 2))
	s.End(errors.New("x"))
	r.Event("late", slog.Int("n", 3))
	r.Own().Attr(slog.Int("n", 4))
	r.Own().Fail(errors.New("x"))
	if n := len(r.Spans()); n != 1 || r.Spans()[0].Failed != "" || len(r.attrs)+len(r.events) > 0 || r.open != 0 {
		t.Errorf("%d spans, attributes %v, events %v", n, r.attrs, r.events)
	}
	if r.SpanID() != own || r.Spans()[0].ID.String() != own {
		t.Errorf("the exchange is %s, and was %s", r.SpanID(), own)
	}
	r.Open(TraceContext{}, time.Now(), true)
	if r.Begin("next", SpanInternal).End(nil); len(r.Spans()) != 2 || r.SpanID() == own {
		t.Errorf("what comes next has %d spans", len(r.Spans()))
	}
}

// TestKept proves that what is kept outlives the memory of the request, and holds no
// secret.
func TestKept(t *testing.T) {
	r := openTrace(true)
	s := r.Begin("x", SpanInternal)
	s.Attr(slog.Any("key", Secret("barracuda")))
	s.Attr(slog.Duration("took", time.Second))
	s.Attr(slog.Bool("yes", true))
	s.End(Errorf(Denied, "no").Because(errors.New("why")))
	r.Seal(0, true)
	got := map[string]string{}
	for a := range r.Attrs(1) {
		got[a.Key] = a.Value.Kind().String() + " " + a.Value.String()
	}
	want := map[string]string{"key": "String ***", "took": "String 1s", "yes": "Bool true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if got := r.Spans()[1].Message; got != "denied: no: why" {
		t.Errorf("message %q", got)
	}
}

// TestConcurrent proves that tries of several goroutines are recorded without a race, and
// without losing any of the first 64.
func TestConcurrent(t *testing.T) {
	r := openTrace(true)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				s := r.Begin("try", SpanClient)
				s.Attr(slog.Int("n", 1))
				s.Event("e", slog.Int("n", 1))
				s.Inject(http.Header{})
				s.End(nil)
			}
		})
	}
	all.Wait()
	if !r.Seal(0, true) || len(r.Spans()) != MaxSpans || r.Lost() != 80+1-MaxSpans {
		t.Errorf("%d spans, %d lost", len(r.Spans()), r.Lost())
	}
	ids := map[SpanID]bool{}
	for _, s := range r.Spans() {
		ids[s.ID] = true
	}
	if len(ids) != MaxSpans {
		t.Errorf("%d ids of %d spans", len(ids), MaxSpans)
	}
}
