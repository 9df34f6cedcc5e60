package trace_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/airsidetest"
)

// BenchmarkExchange is what traces cost an exchange: the match, two policies and a try.
func BenchmarkExchange(b *testing.B) {
	for _, c := range []struct {
		name   string
		share  float64
		errors bool
	}{
		{"1%", 0.01, true},
		{"1% and no errors", 0.01, false},
		{"all", 1, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := settings(airsidetest.Upstream(b, func(http.ResponseWriter, *http.Request) {}))
			s.Sample, s.Errors, s.To.Batch, s.To.Queue, s.To.Interval = c.share, c.errors, 512, 2048, time.Second
			r := newTracer(b, s)
			o := fine()
			h := http.Header{"Accept": {"*/*"}}
			lines := make([]byte, 0, 100)
			x := &airside.Exchange{}
			start := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				x.Trace = r.Begin(h, start)
				x.Trace.Begin("match", airside.SpanInternal).End(nil)
				one := policy(x, "jwt")
				two := policy(x, "ratelimit")
				lines = try(x, lines)
				two.End(nil)
				one.End(nil)
				r.End(x, o, nothing{}, true)
			}
		})
	}
}

func policy(x *airside.Exchange, name string) airside.Span {
	return x.Trace.Begin(name, airside.SpanInternal, slog.String("airside.policy", name))
}

func try(x *airside.Exchange, lines []byte) []byte {
	var s airside.Span
	if x.Trace.Recording() {
		s = x.Trace.Begin("", airside.SpanClient, slog.String("http.request.method", "POST"), slog.String("airside.upstream", "agent"),
			slog.String("url.scheme", "http"), slog.String("server.address", "127.0.0.1:9001"), slog.String("airside.base", ""), slog.String("url.path", "/x/y"))
	} else {
		s = x.Trace.Begin("", airside.SpanClient)
	}
	lines = s.AppendLines(lines[:0])
	s.Answered(http.StatusOK)
	s.End(nil)
	return lines
}
