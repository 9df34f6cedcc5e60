package metrics

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

func TestNegotiate(t *testing.T) {
	const proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for _, tt := range []struct {
		accept string
		want   form
	}{
		{"", formText},
		{"*/*", formText},
		{"text/plain", formText},
		{"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", formOpenMetrics},
		{proto + ",application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5", formProtobuf},
		{"text/plain;q=0.9, " + proto + ";q=0.3", formText},
		{"application/openmetrics-text;version=2.0.0", formText},
		{"application/openmetrics-text;q=0,text/plain;q=0.1", formText},
		{"application/vnd.google.protobuf;encoding=text", formText},
		{"application/json;;;=, \x00", formText},
	} {
		if got := negotiate([]string{tt.accept}); got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.accept, got, tt.want)
		}
	}
}

// sample is one family of each kind, with everything that needs care.
func sample() []*dto.MetricFamily {
	m := New(Settings{})
	m.Set(Options{Series: 10})
	m.own.add("a_total", Counter, "A \"help\"\nof \\ two lines.", func() float64 { return 3 }, []string{"name", "q\"b\\n\nx\xff"})
	m.own.add("b", Gauge, "B.", func() float64 { return 0.25 }, nil)
	g := &gathering{families: map[string]*family{}}
	for _, r := range m.own.all() {
		g.describe(r.Description)
		g.set(r.Name, r.read(), r.values...)
	}
	g.describe(Description{Name: "c_seconds", Kind: Summary, Help: "C."})
	q, v, n := 0.5, 1.0, uint64(2)
	g.add("c_seconds", nil).Summary = &dto.Summary{SampleCount: &n, SampleSum: &v, Quantile: []*dto.Quantile{{Quantile: &q, Value: &v}}}
	g.describe(Description{Name: "d_seconds", Kind: Histogram, Help: "D."})
	upper := 1.0
	e := &exemplar{trace: [16]byte{0xab}, took: 500 * time.Millisecond, at: time.Unix(1_700_000_000, 0)}
	g.add("d_seconds", nil).Histogram = &dto.Histogram{SampleCount: &n, SampleSum: &v, Bucket: []*dto.Bucket{{UpperBound: &upper, CumulativeCount: &n, Exemplar: e.told()}}}
	return g.sorted()
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		form form
		want string
	}{
		{formText, `# HELP a_total A "help"\nof \\ two lines.
# TYPE a_total counter
a_total{name="q\"b\\n\nx�"} 3
# HELP b B.
# TYPE b gauge
b 0.25
# HELP c_seconds C.
# TYPE c_seconds summary
c_seconds{quantile="0.5"} 1
c_seconds_sum 1
c_seconds_count 2
# HELP d_seconds D.
# TYPE d_seconds histogram
d_seconds_bucket{le="1"} 2
d_seconds_bucket{le="+Inf"} 2
d_seconds_sum 1
d_seconds_count 2
`},
		{formOpenMetrics, `# HELP a A \"help\"\nof \\ two lines.
# TYPE a counter
a_total{name="q\"b\\n\nx�"} 3
# HELP b B.
# TYPE b gauge
b 0.25
# HELP c_seconds C.
# TYPE c_seconds summary
c_seconds{quantile="0.5"} 1
c_seconds_sum 1
c_seconds_count 2
# HELP d_seconds D.
# TYPE d_seconds histogram
d_seconds_bucket{le="1.0"} 2 # {trace_id="ab000000000000000000000000000000"} 0.5 1700000000.000
d_seconds_bucket{le="+Inf"} 2
d_seconds_sum 1
d_seconds_count 2
# EOF
`},
	} {
		var b bytes.Buffer
		if err := tt.form.write(&b, sample()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("form %d (-want +got):\n%s", tt.form, diff)
		}
	}
}

func ask(t *testing.T, m *Metrics, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	return w
}

// Whoever asks for protobuf and gzip gets families that can be read back.
func TestProtobufZipped(t *testing.T) {
	m := made(t, 10, false)
	m.ended(&airside.Exchange{Route: "a"}, 200, time.Second)
	w := ask(t, m, "Accept", formProtobuf.contentType(), "Accept-Encoding", "br, gzip;q=0.5")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Content-Type") != formProtobuf.contentType() {
		t.Fatalf("headers: %v", w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(z)
	seen := map[string]*dto.MetricFamily{}
	for {
		f := &dto.MetricFamily{}
		if err := protodelim.UnmarshalFrom(r, f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[f.GetName()] = f
	}
	h := seen["http_server_request_duration_seconds"]
	if h == nil || h.Metric[0].Histogram.GetSchema() != schema || len(h.Metric[0].Histogram.PositiveSpan) != 1 {
		t.Errorf("got %v", h)
	}
}

// At most so many are served at once.
func TestScrapesAreBounded(t *testing.T) {
	m := made(t, 10, false)
	for range maxScrapes {
		m.busy <- struct{}{}
	}
	if w := ask(t, m); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %v, want 503", w.Code, w.Header())
	}
	<-m.busy
	if w := ask(t, m); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "airside_metrics_scrapes_refused_total 1\n") {
		t.Errorf("got %d, want 200 and one refused", w.Code)
	}
	if len(m.busy) != maxScrapes-1 {
		t.Error("a place was not given back")
	}
}

// TestGatherOneByOne proves that scrapes that come together gather one after the other,
// and that one whose client has left does not.
func TestGatherOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gathering atomic.Int64
		next := make(chan struct{})
		m := New(Settings{Upstreams: func() []Upstream {
			gathering.Add(1)
			<-next
			return nil
		}})
		m.Set(Options{Series: 10})
		gone, leave := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{t.Context(), t.Context(), gone} {
			go m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil))
			synctest.Wait()
		}
		if n := gathering.Load(); n != 1 {
			t.Errorf("%d gather at once", n)
		}
		leave()
		for range 2 {
			next <- struct{}{}
		}
		synctest.Wait()
		if n := gathering.Load(); n != 2 || len(m.busy) != 0 || len(m.turn) != 0 {
			t.Errorf("%d have gathered; %d and %d are left", n, len(m.busy), len(m.turn))
		}
	})
}

func TestOffIsNotFound(t *testing.T) {
	m := New(Settings{})
	if w := ask(t, m); w.Code != http.StatusNotFound {
		t.Errorf("got %d, want 404", w.Code)
	}
}

// A slow exchange of a trace is the exemplar of its bucket, and stays for a while.
func TestExemplars(t *testing.T) {
	m := New(Settings{Trace: func(x *airside.Exchange) (id [16]byte, ok bool) {
		copy(id[:], x.ID)
		return id, x.ID != ""
	}})
	m.Set(Options{Series: 10})
	for _, id := range []string{"", "1", "2"} {
		m.ended(&airside.Exchange{Route: "a", ID: id}, 200, 40*time.Second)
	}
	w := ask(t, m, "Accept", "application/openmetrics-text; version=1.0.0")
	want := `le="+Inf"} 3 # {trace_id="31000000000000000000000000000000"} 40 1700000040.000` + "\n"
	if !strings.Contains(w.Body.String(), want) {
		t.Errorf("no line ends in %s", want)
	}
	if got := strings.Count(w.Body.String(), "trace_id"); got != 1 {
		t.Errorf("%d exemplars, want 1", got)
	}
	if strings.Contains(ask(t, m).Body.String(), "trace_id") {
		t.Error("the plain format has no exemplars")
	}
}

// Upstreams are asked when the metrics are: an endpoint that has left has no series, and
// more than the bound are counted only.
func TestUpstreams(t *testing.T) {
	s := pool.Snapshot{Retries: 3, Panic: true, Endpoints: []pool.EndpointSnapshot{
		{Address: "http://a:1", Weight: 2, State: pool.StateHealthy, Active: 1, Requests: 10, Failures: 2, Latency: 250 * time.Millisecond},
		{Address: "http://b:1", Weight: 1, State: pool.StateEjected},
	}}
	m := New(Settings{Upstreams: func() []Upstream { return []Upstream{{"plain", nil}, {"agents", &s}} }})
	m.Set(Options{Series: 10})
	text := ask(t, m).Body.String()
	for _, want := range []string{
		`airside_upstream_endpoint_state{endpoint="http://a:1",state="healthy",upstream="agents"} 1`,
		`airside_upstream_endpoint_state{endpoint="http://a:1",state="ejected",upstream="agents"} 0`,
		`airside_upstream_endpoint_state{endpoint="http://b:1",state="ejected",upstream="agents"} 1`,
		`airside_upstream_endpoint_latency_seconds{endpoint="http://a:1",upstream="agents"} 0.25`,
		`airside_upstream_endpoint_requests_total{endpoint="http://a:1",upstream="agents"} 10`,
		`airside_upstream_endpoints{upstream="agents"} 2`,
		`airside_upstream_endpoints_available{upstream="agents"} 1`,
		`airside_upstream_retries_total{upstream="agents"} 3`,
		`airside_upstream_panic{upstream="agents"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, `latency_seconds{endpoint="http://b:1"`) || strings.Contains(text, "plain") {
		t.Error("what is not known is told")
	}
	s.Endpoints = s.Endpoints[:1]
	if strings.Contains(ask(t, m).Body.String(), "http://b:1") {
		t.Error("an endpoint that has left is still told of")
	}
	m.Set(Options{Series: 1})
	s.Endpoints = append(s.Endpoints, pool.EndpointSnapshot{Address: "http://c:1"})
	if text := ask(t, m).Body.String(); strings.Contains(text, "http://c:1") || !strings.Contains(text, "airside_metrics_endpoints_hidden 1\n") {
		t.Error("the bound of endpoints does not hold")
	}
}

// Other parts add metrics of their own; the same again replaces the first, and there is
// a bound.
func TestRegistered(t *testing.T) {
	m := made(t, 10, false)
	m.Count("airside_x_total", "X.", func() uint64 { return 1 }, "part", "a")
	m.Count("airside_x_total", "X.", func() uint64 { return 2 }, "part", "b")
	m.Count("airside_x_total", "X.", func() uint64 { return 7 }, "part", "a")
	m.Measure("airside_y", "Y.", func() float64 { return 0.5 })
	text := ask(t, m).Body.String()
	if want := "# HELP airside_x_total X.\n# TYPE airside_x_total counter\nairside_x_total{part=\"a\"} 7\nairside_x_total{part=\"b\"} 2\n# HELP airside_y Y.\n# TYPE airside_y gauge\nairside_y 0.5\n"; !strings.Contains(text, want) {
		t.Errorf("got\n%s\nwant in it\n%s", text, want)
	}
	for i := range 2 * maxRegistered {
		m.Measure("airside_y", "Y.", func() float64 { return 0 }, "n", string(rune('a'+i)))
	}
	if got := len(m.own.all()); got != maxRegistered {
		t.Errorf("%d are registered, want %d", got, maxRegistered)
	}
}
