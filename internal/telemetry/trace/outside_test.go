package trace_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// outside builds the programs of test/collector, a module of its own: the receiver of the
// OpenTelemetry Collector, and an agent that is traced by the OpenTelemetry SDK.
func outside(t *testing.T) (folder string) {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(root, "bin", "tools", "collector")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", folder+"/", "./...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false") // the same each time, so that it is cached
	build.Dir = filepath.Join(root, "test", "collector")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building test/collector: %v\n%s", err, out)
	}
	return folder
}

// start starts a program and returns its lines. It is ended with the test.
func start(t *testing.T, name string, args ...string) *bufio.Scanner {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stderr = os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() }) // so that nothing is awaited for ever
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		watchdog.Stop()
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		t.Fatalf("%s says nothing: %v", name, lines.Err())
	}
	return lines
}

// A report is what the receiver of the Collector says, in OTLP/JSON.
type report struct {
	ResourceSpans []struct {
		Resource struct {
			Attributes []struct {
				Key   string                       `json:"key"`
				Value struct{ StringValue string } `json:"value"`
			} `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []struct {
			Spans []struct {
				TraceID, SpanID, ParentSpanID, Name string
			} `json:"spans"`
		} `json:"scopeSpans"`
	} `json:"resourceSpans"`
}

// A place is where a span stands.
type place struct{ service, trace, span, parent string }

// received reads what the receiver says until all names have come.
func received(t *testing.T, lines *bufio.Scanner, names ...string) map[string]place {
	t.Helper()
	got := map[string]place{}
	have := func() bool {
		for _, n := range names {
			if _, ok := got[n]; !ok {
				return false
			}
		}
		return true
	}
	for !have() && lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		for _, rs := range r.ResourceSpans {
			service := ""
			for _, a := range rs.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.StringValue
				}
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					got[service+": "+s.Name] = place{service, s.TraceID, s.SpanID, s.ParentSpanID}
				}
			}
		}
	}
	if !have() {
		t.Fatalf("of the spans %q only these have come: %v", names, got)
	}
	return got
}

// TestCollector proves, by the receiver of the OpenTelemetry Collector and an agent with
// the OpenTelemetry SDK, that what is exported over HTTP and gRPC is understood, and that
// one trace goes from the client through two gateways to the agent.
func TestCollector(t *testing.T) {
	folder := outside(t)
	for _, protocol := range []string{"http", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			lines := start(t, filepath.Join(folder, "receiver"))
			var at struct{ HTTP, GRPC string }
			if err := json.Unmarshal(lines.Bytes(), &at); err != nil {
				t.Fatal(err)
			}
			agent := start(t, filepath.Join(folder, "agent"), "http://"+at.HTTP).Text()
			to := map[string]string{"http": at.HTTP, "grpc": at.GRPC}[protocol]
			config := func(service string) string {
				return `
telemetry: { traces: { otlp: "http://$2", protocol: ` + protocol + `, sample: 1, interval: 10ms, service: ` + service + ` } }
upstreams: { next: { http: { url: $1 } } }
routes: [{ name: r1, path: /*, to: next }]
`
			}
			inner := airsidetest.Start(t, config("inner"), "http://"+agent, to)
			outer := airsidetest.Start(t, config("outer"), "http://"+inner.Addr, to)
			_, told := ask(t, outer.Client(airsidetest.H1), outer.URL(airsidetest.H1, "/"), "Traceparent", clientParent)
			all := received(t, lines, "outer: POST r1", "outer: POST next", "inner: POST r1", "inner: POST next", "agent: POST")
			parent := clientSpan
			for _, name := range []string{"outer: POST r1", "outer: POST next", "inner: POST r1", "inner: POST next", "agent: POST"} {
				if p := all[name]; p.trace != clientTrace || p.parent != parent {
					t.Errorf("the span %s is below %s in %s, want %s in %s", name, p.parent, p.trace, parent, clientTrace)
				}
				parent = all[name].span
			}
			if want := "00-" + clientTrace + "-" + all["inner: POST next"].span + "-01"; !strings.HasPrefix(told, want) {
				t.Errorf("the agent was told %q, want %q", told, want)
			}
		})
	}
}
