package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
)

// A line is the attributes of the line of an exchange, in the order of writing. They are
// given to the handler as one group without a name, which is used again: a handler must
// keep neither it nor a record that holds it, but a copy.
type line struct {
	attrs   []slog.Attr
	request http.Request // see asCame
	url     url.URL
}

var accessLines = sync.Pool{New: func() any { return &line{attrs: make([]slog.Attr, 0, 20)} }}

func (l *line) text(key, value string) { l.attrs = append(l.attrs, slog.String(key, value)) }

// known adds a text that may be empty, which says that it is not known.
func (l *line) known(key, value string) {
	if value != "" {
		l.text(key, value)
	}
}

func (l *line) number(key string, n int64) { l.attrs = append(l.attrs, slog.Int64(key, n)) }

func (l *line) release() {
	clear(l.attrs)
	l.attrs = l.attrs[:0]
	if l.request.URL != nil {
		l.request, l.url = http.Request{}, url.URL{}
	}
	accessLines.Put(l)
}

// access writes the one line of the exchange. What a client sent is logged as it
// came, quoted by the handler, but for the query, which may hold secrets.
func (s *Server) access(e *exchange, o airside.Outcome) {
	level := slog.LevelInfo
	if o.Status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	ctx, handler := context.Background(), s.Log.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	l, _ := accessLines.Get().(*line) // the pool holds nothing else
	defer l.release()
	if e.choice == nil {
		l.fill(e, o)
	} else if !l.choose(e, o) {
		return
	}
	r := slog.NewRecord(time.Now(), level, "exchange", 0)
	r.AddAttrs(slog.Attr{Value: slog.GroupValue(l.attrs...)})
	_ = handler.Handle(ctx, r) // as slog does: there is nowhere else to say it
}

// choose fills the line as the choice of the exchange says, and reports whether it is to
// be written.
func (l *line) choose(e *exchange, o airside.Outcome) bool {
	defer l.asCame(e)()
	e.outcome = o
	if !e.choice.wants(e.x, &e.outcome) {
		return false
	}
	l.fill(e, o)
	l.chosen(e)
	return true
}

func (l *line) fill(e *exchange, o airside.Outcome) {
	x := e.x
	l.text("id", x.ID)
	l.text("client", x.Client.Addr)
	l.text("method", e.method)
	l.text("host", e.host)
	l.text("path", e.path)
	l.number("status", int64(o.Status))
	l.attrs = append(l.attrs, slog.Duration("took", o.Duration))
	l.number("in", o.Received)
	l.number("out", o.Sent)
	l.number("http", int64(e.major))
	l.known("route", x.Route)
	l.known("upstream", x.Upstream)
	l.known("endpoint", x.Endpoint)
	l.known("caller", x.Caller.ID)
	l.known("target", x.Call.Target)
	if n := len(x.Failures); n > 0 {
		l.number("tries", int64(n+1))
		l.text("failed", errors.Join(x.Failures...).Error())
	}
	if x.Trace != nil {
		l.text("trace_id", x.Trace.ID())
		l.text("span_id", x.Trace.SpanID())
	}
	if o.Err != nil {
		l.text("err", o.Err.Error())
	}
}
