package pool

import (
	"log/slog"

	"github.com/airside-gateway/airside"
)

// trace begins the span of the try, which asks m.
func (t *try) trace(m *member) {
	trace := t.x.Trace
	if trace == nil {
		return
	}
	if !trace.Recording() {
		t.span = trace.Begin("", airside.SpanClient)
		return
	}
	base, path := m.prefix(t.x.Request.URL)
	t.span = trace.Begin("", airside.SpanClient,
		slog.String("http.request.method", t.method),
		slog.String("airside.upstream", t.x.Upstream),
		slog.String("url.scheme", m.scheme),
		slog.String("server.address", m.host),
		slog.String("airside.base", base),
		slog.String("url.path", path))
}

// context makes the lines of a request that name the span of the try as the parent of what
// the agent does.
func (t *try) context() {
	t.lines = t.span.AppendLines(t.lines[:0])
	t.request.Lines, t.request.Drop = t.lines, droppedTraced
}

// droppedTraced is dropped for a request that names a span of ours.
func droppedTraced(name string) bool {
	return name == "Traceparent" || name == "Tracestate" || dropped(name)
}
