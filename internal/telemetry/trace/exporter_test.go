package trace_test

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/telemetry/trace"
)

// settings are those of a tracer that exports everything to url, at once.
func settings(url string) trace.Settings {
	return trace.Settings{
		Sample: 1, Errors: true, Parent: trace.ParentFollow,
		To: trace.Target{URL: url, Protocol: trace.HTTP, Timeout: 10 * time.Second, Interval: time.Millisecond, Batch: 1, Queue: 100},
	}
}

func newTracer(t testing.TB, s trace.Settings) *trace.Tracer {
	t.Helper()
	r, err := trace.New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.CloseIn(0) })
	return r
}

// nothing describes an exchange by nothing.
type nothing struct{}

func (nothing) Describe(airside.Span) {}

// run is an exchange that ends with o.
func run(r *trace.Tracer, o *airside.Outcome) *airside.Trace {
	x := &airside.Exchange{Trace: r.Begin(nil, time.Now())}
	x.Trace.Begin("try", airside.SpanClient).End(o.Err)
	r.End(x, o, nothing{}, false)
	return x.Trace
}

func fine() *airside.Outcome {
	return &airside.Outcome{Status: http.StatusOK, Duration: time.Millisecond}
}

// TestProtocols proves that both protocols bring spans over, compressed or not.
func TestProtocols(t *testing.T) {
	for _, protocol := range []string{trace.HTTP, trace.GRPC} {
		for _, plain := range []bool{false, true} {
			t.Run(protocol+"/"+strconv.FormatBool(plain), func(t *testing.T) {
				c := newCollector(t, protocol == trace.GRPC, nil)
				s := settings(c.url)
				s.To.Protocol, s.To.Plain = protocol, plain
				s.To.Headers = map[string]airside.Secret{"x-key": "k"}
				r := newTracer(t, s)
				x := run(r, fine())
				spans := c.next(t, 2)
				if got := hexOf(spans[0].TraceId); got != x.ID() {
					t.Errorf("the trace is %s, want %s", got, x.ID())
				}
				h := <-c.seen
				if h.Get("X-Key") != "k" {
					t.Errorf("the headers are %v", h)
				}
				r.CloseIn(time.Minute)
				if got := r.Stats(); got.Exported != 2 || got.Requests != 1 {
					t.Errorf("stats %+v", got)
				}
			})
		}
	}
}

// partial is an answer that says that n spans were rejected.
func partial(n byte) []byte { return []byte{1<<3 | 2, 2, 1 << 3, n} }

// TestAnswers proves what becomes of an export that the collector does not simply take.
func TestAnswers(t *testing.T) {
	ok := answerWith{status: http.StatusOK, grpc: "0"}
	tests := []struct {
		name  string
		grpc  bool
		first answerWith
		want  trace.Stats
	}{
		{"some are rejected", false, answerWith{status: http.StatusOK, grpc: "0", body: partial(1)}, trace.Stats{Exported: 1, Rejected: 1, Requests: 1}},
		{"some are rejected over gRPC", true, answerWith{status: http.StatusOK, grpc: "0", body: partial(1)}, trace.Stats{Exported: 1, Rejected: 1, Requests: 1}},
		{"400", false, answerWith{status: http.StatusBadRequest}, trace.Stats{Rejected: 2, Requests: 1}},
		{"301", false, answerWith{status: http.StatusMovedPermanently, header: http.Header{"Location": {"/x"}}}, trace.Stats{Rejected: 2, Requests: 1}},
		{"429", false, answerWith{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"0"}}}, trace.Stats{Exported: 2, Requests: 2, Retries: 1}},
		{"503", false, answerWith{status: http.StatusServiceUnavailable}, trace.Stats{Exported: 2, Requests: 2, Retries: 1}},
		{"gRPC unavailable", true, answerWith{status: http.StatusOK, grpc: "14"}, trace.Stats{Exported: 2, Requests: 2, Retries: 1}},
		{"gRPC invalid", true, answerWith{status: http.StatusOK, grpc: "3"}, trace.Stats{Rejected: 2, Requests: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, tt.grpc, func(n int) answerWith {
				if n == 1 {
					return tt.first
				}
				return ok
			})
			s := settings(c.url)
			if tt.grpc {
				s.To.Protocol = trace.GRPC
			}
			r := newTracer(t, s)
			run(r, fine())
			for range tt.want.Requests {
				<-c.seen
			}
			r.CloseIn(time.Minute)
			if diff := cmp.Diff(tt.want, r.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBlackhole proves that a collector that takes connections and says nothing holds up
// no exchange, that what it does not take is dropped and counted, and that a shutdown ends
// in time.
func TestBlackhole(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := settings("http://" + l.Addr().String())
	s.To.Queue, s.To.Timeout = 10, time.Hour
	r := newTracer(t, s)
	const exchanges = 10_000
	began := time.Now()
	for range exchanges {
		run(r, fine())
	}
	t.Logf("an exchange took %s", time.Since(began)/exchanges)
	r.CloseIn(10 * time.Millisecond)
	got := r.Stats()
	if got.QueueFull < 2*(exchanges-12) || got.QueueFull+got.Unsent != 2*exchanges || got.Exported != 0 {
		t.Errorf("stats %+v: %d spans were to be dropped", got, 2*exchanges)
	}
}

// TestRefused proves that a collector that is away is tried again with growing pauses, for
// a minute, and then given up.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		s := settings("http://127.0.0.1:1")
		s.Log = slog.New(slog.NewTextHandler(&said, nil))
		r := newTracer(t, s)
		run(r, fine())
		began := time.Now()
		var idle, longest int
		for last := uint64(0); r.Stats().Unsent == 0; last = r.Stats().Requests {
			<-time.After(time.Second)
			if idle++; r.Stats().Requests != last {
				idle = 0
			}
			longest = max(longest, idle)
		}
		if longest > 5 {
			t.Errorf("there were %d seconds without a try", longest)
		}
		if took := time.Since(began); took < 45*time.Second || took > 62*time.Second {
			t.Errorf("the export was given up after %s", took)
		}
		got := r.Stats()
		if got.Unsent != 2 || got.Retries < 6 || got.Retries > 30 {
			t.Errorf("stats %+v", got)
		}
		r.CloseIn(0)
		if strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "traces cannot be sent") {
			t.Errorf("the log says:\n%s", said.String())
		}
	})
}

// TestSampling proves that the share is kept within 2 percent of it, that it goes by the
// trace id, and that of exchanges that failed all are exported.
func TestSampling(t *testing.T) {
	const exchanges = 20_000
	for _, share := range []float64{0, 0.01, 0.25, 1} {
		s := settings("http://127.0.0.1:1")
		s.Sample = share
		r := newTracer(t, s)
		other := s
		other.Sample, other.Parent = min(1, 2*share), trace.ParentRatio
		more := newTracer(t, other)
		n := 0
		for range exchanges {
			x := r.Begin(nil, time.Now())
			if !x.Sampled() {
				continue
			}
			n++
			h := http.Header{"Traceparent": {"00-" + x.ID() + "-00f067aa0ba902b7-00"}}
			if y := more.Begin(h, time.Now()); !y.Sampled() {
				t.Fatalf("%s is of a share of %g, but not of %g", x.ID(), s.Sample, other.Sample)
			}
		}
		if got := float64(n) / exchanges; got < share-0.02 || got > share+0.02 || share > 0 && n == 0 {
			t.Errorf("%g of the exchanges are sampled, want %g", got, share)
		}
	}
}

// TestParent proves what a client's decision counts for.
func TestParent(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736" // its random part is in the lower half
	for _, tt := range []struct {
		parent, flags string
		share         float64
		sampled, same bool
	}{
		{trace.ParentFollow, "01", 0, true, true},
		{trace.ParentFollow, "00", 1, false, true},
		{trace.ParentRatio, "01", 0, false, true},
		{trace.ParentRatio, "00", 1, true, true},
		{trace.ParentIgnore, "01", 0, false, false},
	} {
		s := settings("http://127.0.0.1:1")
		s.Parent, s.Sample = tt.parent, tt.share
		x := newTracer(t, s).Begin(http.Header{"Traceparent": {"00-" + id + "-00f067aa0ba902b7-" + tt.flags}}, time.Now())
		if x.Sampled() != tt.sampled || (x.ID() == id) != tt.same {
			t.Errorf("%s with flags %s and a share of %g: sampled %t in trace %s", tt.parent, tt.flags, tt.share, x.Sampled(), x.ID())
		}
	}
}

// TestFailures proves which ends of an exchange are failures that are always exported.
func TestFailures(t *testing.T) {
	c := newCollector(t, false, nil)
	s := settings(c.url)
	s.Sample = 0
	r := newTracer(t, s)
	cut := airside.Errorf(airside.UpstreamFailed, "cut")
	outcomes := []struct {
		o    airside.Outcome
		want bool
	}{
		{airside.Outcome{Status: 200}, false},
		{airside.Outcome{Status: 404, Err: airside.Errorf(airside.NotFound, "")}, false},
		{airside.Outcome{Status: 499, Err: airside.Errorf(airside.Canceled, "")}, false},
		{airside.Outcome{Status: 500}, true},
		{airside.Outcome{Status: 200, Err: cut}, true},
	}
	want := uint64(0)
	for _, o := range outcomes {
		run(r, &o.o)
		if o.want {
			want += 2
		}
	}
	r.CloseIn(time.Minute)
	if got := r.Stats().Exported; got != want {
		t.Errorf("%d spans were exported, want %d", got, want)
	}
}

// TestBounds proves that what an exchange records is bounded, and what has no room counted.
func TestBounds(t *testing.T) {
	c := newCollector(t, false, nil)
	r := newTracer(t, settings(c.url))
	x := &airside.Exchange{Trace: r.Begin(nil, time.Now())}
	for range 100 {
		s := x.Trace.Begin("span", airside.SpanClient)
		for range 20 {
			s.Attr(slog.String("text", strings.Repeat("x", 5000)))
			s.Event("event", slog.Int("n", 1))
		}
		s.End(nil)
	}
	r.End(x, fine(), nothing{}, false)
	spans := c.next(t, airside.MaxSpans)
	attrs, events := 0, 0
	for _, s := range spans {
		attrs += len(s.Attributes)
		for _, e := range s.Events {
			events++
			attrs += len(e.Attributes)
		}
		if text := s.attrs["text"]; len(text) > 1024 {
			t.Errorf("a text has %d bytes", len(text))
		}
	}
	// Beside those that were recorded, resend_count of 62 spans, and how many were lost.
	if attrs > airside.MaxSpanAttrs+airside.MaxSpans || events > airside.MaxSpanEvents {
		t.Errorf("%d attributes and %d events were recorded", attrs, events)
	}
	r.CloseIn(time.Minute)
	if got := r.Stats().Lost; got != 100+1-airside.MaxSpans {
		t.Errorf("%d spans were lost", got)
	}
}

// FuzzAnswer proves that no answer of a collector upsets who reads it.
func FuzzAnswer(f *testing.F) {
	f.Add(partial(3))
	f.Add([]byte{1<<3 | 2, 200})
	f.Add(binary.AppendUvarint([]byte{1 << 3}, 1<<63))
	f.Fuzz(func(t *testing.T, body []byte) {
		if n := trace.RejectedIn(body); n > 1<<63-1 {
			t.Errorf("%d spans were rejected", n)
		}
	})
}
