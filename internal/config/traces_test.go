package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

const tracedRoute = "\nroutes: [{ path: /, to: http://127.0.0.1:9001 }]\n"

// TestTraces proves what the forms of traces mean.
func TestTraces(t *testing.T) {
	usual := func(change func(*Traces)) *Traces {
		c := &Traces{
			Protocol: "http", Compression: "gzip", Sample: 0.1, Errors: true, Parent: "follow", Service: "airside",
			Timeout: 10 * time.Second, Interval: time.Second, Batch: 512, Queue: 2048,
		}
		change(c)
		return c
	}
	tests := []struct {
		name, yaml string
		want       *Traces
	}{
		{"nothing", "telemetry: {}", nil},
		{"off", "telemetry: { traces: off }", usual(func(c *Traces) { c.Off = true })},
		{"a URL", "telemetry: { traces: http://127.0.0.1:4318 }", usual(func(c *Traces) { c.OTLP = "http://127.0.0.1:4318" })},
		{
			"a mapping", "telemetry: { traces: { otlp: https://otel, protocol: grpc, sample: 1, errors: false, parent: ratio, headers: { X-Key: k } } }",
			usual(func(c *Traces) {
				c.OTLP, c.Protocol, c.Sample, c.Errors, c.Parent = "https://otel", "grpc", 1, false, "ratio"
				c.Headers = map[string]airside.Secret{"X-Key": "k"}
			}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("airside.yaml", []byte(tt.yaml+tracedRoute), Lookup{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Telemetry.Traces); diff != "" {
				t.Errorf("traces (-want +got):\n%s", diff)
			}
		})
	}
}
