package trace_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/airsidetest"
)

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan   = "00f067aa0ba902b7"
	clientParent = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// ask sends a request with the headers h, in pairs, and returns the status and the
// answer.
func ask(t *testing.T, c *http.Client, url string, h ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(h); i += 2 {
		r.Header.Add(h[i], h[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// byName is one of spans; those of tries are named after their upstream.
func byName(t *testing.T, spans []*span, name string) *span {
	t.Helper()
	var names []string
	for _, s := range spans {
		if s.Name == name {
			return s
		}
		names = append(names, s.Name)
	}
	t.Fatalf("no span is called %q: there are %q", name, names)
	return nil
}

// context answers with what the agent was told of the trace.
func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s|%s|%s", strings.Join(r.Header["Traceparent"], "&"), strings.Join(r.Header["Tracestate"], "&"), r.Header.Get("Baggage"))
}

// TestLinked proves, for every version of HTTP and both client engines, that the spans of
// an exchange hang together from the client's to the one that the agent is told of.
func TestLinked(t *testing.T) {
	for _, engine := range []string{"fast", "std"} {
		for _, mode := range []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std, airsidetest.H2C, airsidetest.H3} {
			t.Run(engine+"/"+string(mode), func(t *testing.T) {
				c := newCollector(t, false, nil)
				g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 0, interval: 10ms } }
policies: { cut: { timeout: 1m } }
upstreams: { agent: { http: { url: $1/base, engine: `+engine+` } } }
routes: [{ name: r1, path: /x/*, use: [cut], to: agent }]
`, airsidetest.Upstream(t, echo), c.url)
				_, told := ask(t, g.Client(mode), g.URL(mode, "/x/y?secret=1"), "Traceparent", clientParent, "Tracestate", "a=1", "Tracestate", "b=2", "Baggage", "k=v")
				spans := c.next(t, 4)
				server, match, policy, try := byName(t, spans, "POST r1"), byName(t, spans, "match"), byName(t, spans, "cut"), byName(t, spans, "POST agent")
				if got, want := told, "00-"+clientTrace+"-"+hexOf(try.SpanId)+"-01|a=1,b=2|k=v"; got != want {
					t.Errorf("the agent was told %q, want %q", got, want)
				}
				parents := []string{hexOf(server.ParentSpanId), hexOf(match.ParentSpanId), hexOf(policy.ParentSpanId), hexOf(try.ParentSpanId)}
				if diff := cmp.Diff([]string{clientSpan, hexOf(server.SpanId), hexOf(server.SpanId), hexOf(policy.SpanId)}, parents); diff != "" {
					t.Errorf("parents (-want +got):\n%s", diff)
				}
				for _, s := range spans {
					if hexOf(s.TraceId) != clientTrace || s.TraceState != "a=1,b=2" || s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano < server.StartTimeUnixNano {
						t.Errorf("span %s is odd: %v", s.Name, s.Span)
					}
					if strings.Contains(s.String(), "secret") {
						t.Errorf("span %s shows the query: %v", s.Name, s.Span)
					}
				}
			})
		}
	}
}

// TestDescribed proves what the spans say, by the semantic conventions.
func TestDescribed(t *testing.T) {
	c := newCollector(t, false, nil)
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 10ms, service: gate, resource: { deployment.environment.name: test } } }
upstreams: { agent: { http: { url: $1/base } } }
routes: [{ name: r1, path: /x/*, to: agent }]
`, agent, c.url)
	ask(t, g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/x/y?secret=1"), "User-Agent", "tester\xff")
	spans := c.next(t, 3)
	server, try := byName(t, spans, "POST r1"), byName(t, spans, "POST agent")
	delete(server.attrs, "airside.request")
	host, port, _ := strings.Cut(g.Addr, ":")
	want := map[string]string{
		"http.request.method": "POST", "url.scheme": "http", "url.path": "/x/y", "http.route": "r1",
		"server.address": host, "server.port": port, "client.address": "127.0.0.1", "network.protocol.version": "1.1",
		"user_agent.original": "tester\uFFFD", "airside.upstream": "agent", "http.response.status_code": "418",
		"http.request.body.size": "5", "http.response.body.size": "0",
	}
	if diff := cmp.Diff(want, server.attrs); diff != "" {
		t.Errorf("the server's span (-want +got):\n%s", diff)
	}
	host, port, _ = strings.Cut(strings.TrimPrefix(agent, "http://"), ":")
	want = map[string]string{
		"http.request.method": "POST", "server.address": host, "server.port": port, "url.full": agent + "/base/x/y",
		"airside.upstream": "agent", "http.response.status_code": "418", "error.type": "418",
	}
	if diff := cmp.Diff(want, try.attrs); diff != "" {
		t.Errorf("the try's span (-want +got):\n%s", diff)
	}
	if server.Status != nil || try.Status.GetCode() != 2 || try.Events[0].Name != "head" {
		t.Errorf("status of the server's span is %v, of the try's %v with the events %v", server.Status, try.Status, try.Events)
	}
	if r := server.resource; r["service.name"] != "gate" || r["deployment.environment.name"] != "test" || r["service.instance.id"] == "" || r["host.name"] == "" {
		t.Errorf("the resource is %v", r)
	}
}

// TestErrors proves that an exchange that fails is exported though it is not sampled, and
// that one that does well, or is refused, is not; and that all of them are told about.
func TestErrors(t *testing.T) {
	c := newCollector(t, false, nil)
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 0, interval: 10ms } }
upstreams:
  fine: { http: { url: $1 } }
  gone: { http: { url: "http://127.0.0.1:1", retry: { attempts: 2, repeat: any, backoff: 1ms } } }
routes:
  - { name: fine, path: /fine, to: fine }
  - { name: gone, path: /gone, to: gone }
`, airsidetest.Upstream(t, echo), c.url)
	client := g.Client(airsidetest.H1)
	_, told := ask(t, client, g.URL(airsidetest.H1, "/fine"))
	if parent, _, _ := strings.Cut(told, "|"); !strings.HasSuffix(parent, "-02") || len(parent) != 55 {
		t.Errorf("of an exchange that is not sampled the agent was told %q", told)
	}
	if status, _ := ask(t, client, g.URL(airsidetest.H1, "/nowhere")); status != http.StatusNotFound {
		t.Errorf("/nowhere: %d", status)
	}
	if status, _ := ask(t, client, g.URL(airsidetest.H1, "/gone")); status != http.StatusBadGateway {
		t.Errorf("/gone: %d", status)
	}
	spans := c.next(t, 4)
	server := byName(t, spans, "POST gone")
	var tries []string
	for _, s := range spans {
		if hexOf(s.TraceId) != hexOf(server.TraceId) {
			t.Errorf("%s is of another trace", s.Name)
		}
		if s.Kind == 3 {
			tries = append(tries, s.attrs["http.request.resend_count"]+" "+s.attrs["error.type"])
		}
	}
	if diff := cmp.Diff([]string{" upstream_failed", "1 upstream_failed"}, tries); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
	if len(server.Events) != 1 || server.Events[0].Name != "retry" {
		t.Errorf("the server's span has the events %v", server.Events)
	}
	if server.Status.GetCode() != 2 || server.attrs["error.type"] != "upstream_failed" {
		t.Errorf("the server's span says %v %v", server.Status, server.attrs)
	}
	if err := g.App.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-c.spans:
		t.Errorf("a span came that nobody asked for: %v", s.Span)
	default:
	}
}

// TestTwoGateways proves that two gateways, one behind the other, are one trace, whose
// second decides as the first.
func TestTwoGateways(t *testing.T) {
	c := newCollector(t, false, nil)
	const config = `
telemetry: { traces: { otlp: $2, sample: %s, interval: 10ms, service: %s } }
upstreams: { agent: { http: { url: $1 } } }
routes: [{ name: r1, path: /*, to: agent }]
`
	inner := airsidetest.Start(t, fmt.Sprintf(config, "0", "inner"), airsidetest.Upstream(t, echo), c.url)
	outer := airsidetest.Start(t, fmt.Sprintf(config, "1", "outer"), "http://"+inner.Addr, c.url)
	ask(t, outer.Client(airsidetest.H1), outer.URL(airsidetest.H1, "/"), "Traceparent", "00-"+clientTrace+"-0000000000000000-01") // not valid: ours begins
	var first, second []*span
	for _, s := range c.next(t, 6) {
		if s.resource["service.name"] == "outer" {
			first = append(first, s)
		} else {
			second = append(second, s)
		}
	}
	asked, try, served := byName(t, first, "POST r1"), byName(t, first, "POST agent"), byName(t, second, "POST r1")
	if hexOf(served.ParentSpanId) != hexOf(try.SpanId) || hexOf(served.TraceId) != hexOf(asked.TraceId) || len(asked.ParentSpanId) > 0 || hexOf(asked.TraceId) == clientTrace {
		t.Errorf("the inner gateway's span is below %s in %s, want %s in %s", hexOf(served.ParentSpanId), hexOf(served.TraceId), hexOf(try.SpanId), hexOf(asked.TraceId))
	}
}

// TestOff proves that without traces what a client says is passed on as it is, whatever
// it is.
func TestOff(t *testing.T) {
	g := airsidetest.Start(t, `
telemetry: { traces: off }
routes: [{ name: r1, path: /*, to: $1 }]
`, airsidetest.Upstream(t, echo))
	_, told := ask(t, g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/"), "Traceparent", "nonsense", "Tracestate", "x")
	if told != "nonsense|x|" {
		t.Errorf("the agent was told %q", told)
	}
}

// TestSecrets proves that a value that came by a reference is told nowhere, and that the
// headers of the collector are sent.
func TestSecrets(t *testing.T) {
	t.Setenv("AGENT_KEY", "barracuda-42")
	c := newCollector(t, false, nil)
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 10ms, headers: { x-key: "${env:AGENT_KEY}" } } }
routes: [{ name: r1, path: /*, to: $1 }]
`, airsidetest.Upstream(t, echo), c.url)
	ask(t, g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/barracuda-42"), "User-Agent", "barracuda-42", "Authorization", "Bearer sk-live")
	for _, s := range c.next(t, 3) {
		if text := s.String(); strings.Contains(text, "barracuda") || strings.Contains(text, "sk-live") {
			t.Errorf("a span shows a secret: %s", text)
		}
	}
	if got := (<-c.seen).Get("X-Key"); got != "barracuda-42" {
		t.Errorf("the collector got the key %q", got)
	}
}

// TestStream proves that the spans of a stream end with it.
func TestStream(t *testing.T) {
	c := newCollector(t, false, nil)
	next := make(chan struct{})
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-next
		_, _ = io.WriteString(w, "data: 2\n\n")
	})
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 1ms } }
routes: [{ name: r1, path: /*, to: $1 }]
`, agent, c.url)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL(airsidetest.H1, "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.Client(airsidetest.H1).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("data: 1\n\n"))); err != nil {
		t.Fatal(err)
	}
	if n := len(c.spans); n > 0 {
		t.Errorf("%d spans have come before the stream ended", n)
	}
	close(next)
	if _, err := io.ReadAll(resp.Body); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	spans := c.next(t, 3)
	server := byName(t, spans, "GET r1")
	for _, s := range spans {
		if s.Kind != 3 {
			continue
		}
		if head := s.Events[0].TimeUnixNano; s.EndTimeUnixNano <= head || server.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("the try ended at %d, and its head came at %d", s.EndTimeUnixNano, head)
		}
	}
	if server.attrs["http.response.body.size"] != "18" {
		t.Errorf("the stream had %s bytes", server.attrs["http.response.body.size"])
	}
}

// TestReload proves that a reload with the same settings keeps what waits, that another
// one sends what the earlier collector was to get, and that a shutdown sends what is left.
func TestReload(t *testing.T) {
	c, d := newCollector(t, false, nil), newCollector(t, false, nil)
	const config = `
telemetry: { traces: { otlp: $2, sample: 1, interval: 1h, service: %s } }
upstreams: { agent: { http: { url: $1 } } }
routes: [{ name: %s, path: /*, to: agent }]
`
	agent := airsidetest.Upstream(t, echo)
	g := airsidetest.Start(t, fmt.Sprintf(config, "s", "r1"), agent, c.url)
	client := g.Client(airsidetest.H1)
	again := func(service, route, to string) {
		t.Helper()
		if err := g.Apply(fmt.Sprintf(config, service, route), agent, to); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, client, g.URL(airsidetest.H1, "/"))
	again("s", "r2", c.url)
	ask(t, client, g.URL(airsidetest.H1, "/"))
	if stats, ok := g.App.Traces(); !ok || stats.Waiting > 2 || stats.Exported > 0 || len(c.spans) > 0 {
		t.Errorf("after a reload the stats are %+v, and %d spans have come", stats, len(c.spans))
	}
	again("s2", "r3", d.url)
	spans := c.next(t, 6)
	byName(t, spans, "POST r1")
	byName(t, spans, "POST r2")
	ask(t, client, g.URL(airsidetest.H1, "/"))
	if err := g.App.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	spans = d.next(t, 3)
	if s := byName(t, spans, "POST r3"); s.resource["service.name"] != "s2" || len(c.spans) > 0 || len(d.spans) > 0 {
		t.Errorf("the last span is of %v; %d and %d more have come", s.resource, len(c.spans), len(d.spans))
	}
	if n := len(c.seen); n != 1 {
		t.Errorf("the first collector got %d exports", n)
	}
}

// TestLogged proves that the line of an exchange names its trace.
func TestLogged(t *testing.T) {
	c := newCollector(t, false, nil)
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 1ms } }
routes: [{ name: r1, path: /*, to: $1 }]
`, airsidetest.Upstream(t, echo), c.url)
	ask(t, g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/"), "Traceparent", clientParent)
	server := byName(t, c.next(t, 3), "POST r1")
	if logs := g.Log(); !strings.Contains(logs, `"trace_id":"`+clientTrace+`"`) || !strings.Contains(logs, `"span_id":"`+hexOf(server.SpanId)+`"`) {
		t.Errorf("the log says:\n%s", logs)
	}
}

// TestCollectorAway proves that exchanges go on, whether the collector is out or says
// nothing, and that what it was to get is counted.
func TestCollectorAway(t *testing.T) {
	hole, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	for _, tt := range []struct{ name, url string }{
		{"out", "http://127.0.0.1:1"},
		{"blackholed", "http://" + hole.Addr().String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 1ms, batch: 1, queue: 5 } }
routes: [{ name: r1, path: /*, to: $1 }]
`, airsidetest.Upstream(t, echo), tt.url)
			client := g.Client(airsidetest.H1)
			const exchanges = 300
			var took []time.Duration
			for range exchanges {
				began := time.Now()
				if status, _ := ask(t, client, g.URL(airsidetest.H1, "/")); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("%d exchanges: half within %s, 99%% within %s", exchanges, took[exchanges/2], took[exchanges*99/100])
			if s, _ := g.App.Traces(); s.QueueFull < 3*(exchanges-10) || s.Exported > 0 || s.Waiting > 5 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// TestHedged proves that both tries of a hedge show, each with its own id, and that the one
// that lost is no failure.
func TestHedged(t *testing.T) {
	c := newCollector(t, false, nil)
	var n atomic.Int32
	agent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the gateway leaves
		if n.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		echo(w, r)
	}
	g := airsidetest.Start(t, `
telemetry: { traces: { otlp: $2, sample: 1, interval: 1ms } }
upstreams: { agent: { http: { endpoints: ["$1", "$3"], hedge: { after: 5ms } } } }
routes: [{ name: r1, path: /*, to: agent }]
`, airsidetest.Upstream(t, agent), c.url, airsidetest.Upstream(t, agent))
	_, told := ask(t, g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/"), "Idempotency-Key", "k")
	spans := c.next(t, 4)
	var tries []*span
	for _, s := range spans {
		if s.Kind == 3 {
			tries = append(tries, s)
		}
	}
	if len(tries) != 2 {
		t.Fatalf("%d tries", len(tries))
	}
	if lost := tries[0]; hexOf(lost.SpanId) == hexOf(tries[1].SpanId) || lost.Status.GetCode() == 2 || lost.attrs["http.response.status_code"] != "" {
		t.Errorf("the try that lost is %v", lost.Span)
	}
	if !strings.Contains(told, hexOf(tries[1].SpanId)) || tries[1].attrs["http.request.resend_count"] != "1" {
		t.Errorf("the agent was told %q, and the other try is %v", told, tries[1].Span)
	}
}
