package edge

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/airside-gateway/airside"
)

// A Tracer traces exchanges. It must be quick, and wait for nothing.
type Tracer interface {
	// Begin returns the trace of an exchange that began at start with the header h; nil
	// where it is not traced.
	Begin(h http.Header, start time.Time) *airside.Trace

	// End takes over the trace of x, which has ended with o. The span of the exchange is
	// described by of, where that is wanted. With alone nobody else has anything of x.
	End(x *airside.Exchange, o *airside.Outcome, of interface{ Describe(s airside.Span) }, alone bool)
}

// trace begins the trace of the exchange.
func (e *exchange) trace() {
	if e.server != nil && e.server.Tracer != nil {
		e.x.Trace = e.server.Tracer.Begin(e.x.Request.Header, e.start)
	}
}

// traced ends the trace of the exchange, when nobody else asks for it any more.
func (e *exchange) traced(o *airside.Outcome) {
	if e.x.Trace != nil {
		e.describes = described{e, o}
		e.server.Tracer.End(e.x, o, &e.describes, e.spent())
	}
}

// described is an exchange that describes its span, by the semantic conventions of
// OpenTelemetry for HTTP servers. The query, which may hold secrets, is left out.
type described struct {
	e *exchange
	o *airside.Outcome
}

// Describe gives s the attributes of the exchange.
func (d *described) Describe(s airside.Span) {
	e, x := d.e, d.e.x
	known := func(key, value string) {
		if value != "" {
			s.Attr(slog.String(key, value))
		}
	}
	s.Attr(slog.String("http.request.method", e.method))
	known("url.scheme", x.Client.Scheme)
	known("url.path", e.path)
	known("http.route", x.Route)
	known("server.address", e.host)
	known("client.address", x.Client.Addr)
	known("network.protocol.version", version(e.major))
	if agent := x.Request.Header["User-Agent"]; len(agent) > 0 {
		known("user_agent.original", agent[0])
	}
	known("airside.request", x.ID)
	known("airside.upstream", x.Upstream)
	known("airside.target", x.Call.Target)
	if e.status > 0 {
		s.Attr(slog.Int("http.response.status_code", e.status))
	}
	s.Attr(slog.Int64("http.request.body.size", d.o.Received))
	s.Attr(slog.Int64("http.response.body.size", d.o.Sent))
	s.Fail(d.o.Err)
}

// version is how a version of HTTP is written there.
func version(major int) string {
	if major == 1 {
		return "1.1"
	}
	return strconv.Itoa(major)
}
