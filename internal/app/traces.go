package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/internal/telemetry/trace"
)

// tracing traces exchanges as the live configuration says. What began under an earlier
// one goes where the live one says.
type tracing struct {
	app      *App
	instance string // of this process
	live     atomic.Pointer[trace.Tracer]

	settings *config.Traces // of live
	files    []byte         // that they name
	leaving  sync.WaitGroup // tracers that send what is left
}

// Begin implements [edge.Tracer].
func (t *tracing) Begin(h http.Header, start time.Time) *airside.Trace {
	if now := t.live.Load(); now != nil {
		return now.Begin(h, start)
	}
	return nil
}

// End implements [edge.Tracer].
func (t *tracing) End(x *airside.Exchange, o *airside.Outcome, of interface{ Describe(s airside.Span) }, alone bool) {
	if now := t.live.Load(); now != nil {
		now.End(x, o, of, alone)
	}
}

// Traces are the counters of the exporter of traces; false if there is none.
func (a *App) Traces() (trace.Stats, bool) {
	if now := a.tracing.live.Load(); now != nil {
		return now.Stats(), true
	}
	return trace.Stats{}, false
}

// newTracing traces nothing yet.
func newTracing(a *App) *tracing {
	id := airside.NewTraceID()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID, RFC 9562 section 5.4
	return &tracing{app: a, instance: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])}
}

// A tracerChange is the tracer of a configuration, ready to take its place.
type tracerChange struct {
	next     *trace.Tracer // nil: nothing is traced
	settings *config.Traces
	files    []byte
	same     bool // as it is
}

// prepare makes the tracer of c, or keeps the one there is, if its settings are the same.
func (t *tracing) prepare(c *config.Traces) (*tracerChange, error) {
	if !traces(c) {
		return &tracerChange{}, nil
	}
	secure, files, err := tracesTLS(c.TLS)
	if err != nil {
		return nil, err
	}
	n := &tracerChange{settings: c, files: files}
	if t.settings != nil && reflect.DeepEqual(t.settings, c) && bytes.Equal(t.files, files) {
		n.next, n.same = t.live.Load(), true
		return n, nil
	}
	n.next, err = trace.New(t.tracer(c, secure))
	return n, err
}

// traces reports whether c asks for traces.
func traces(c *config.Traces) bool { return c != nil && !c.Off }

// tracer are the settings of a tracer for c.
func (t *tracing) tracer(c *config.Traces, secure *tls.Config) trace.Settings {
	resource := []slog.Attr{
		slog.String("service.name", c.Service),
		slog.String("service.version", t.app.version),
		slog.String("service.instance.id", t.instance),
	}
	if host, err := os.Hostname(); err == nil {
		resource = append(resource, slog.String("host.name", host))
	}
	for name, value := range c.Resource {
		resource = append(resource, slog.String(name, value))
	}
	return trace.Settings{
		Sample: c.Sample, Errors: c.Errors, Parent: c.Parent, Caller: c.Caller,
		To: trace.Target{
			URL: c.OTLP, Protocol: c.Protocol, Headers: c.Headers, TLS: secure, Plain: c.Compression == "none",
			Timeout: c.Timeout, Interval: c.Interval, Batch: c.Batch, Queue: c.Queue,
		},
		Log: t.app.log, Mask: t.app.mask.Replace, Resource: resource,
	}
}

// lastExport is how long a tracer that is replaced, or stopped, may go on sending.
const lastExport = 3 * time.Second

// commit puts n in place. What the one before has still to send it sends.
func (t *tracing) commit(n *tracerChange) {
	if n.same {
		return
	}
	t.settings, t.files = n.settings, n.files
	if old := t.live.Swap(n.next); old != nil {
		t.leaving.Go(func() { old.CloseIn(lastExport) })
	}
}

// stop sends what is left, as long as the grace, of which ctx is the end, allows, but at
// least for a moment.
func (t *tracing) stop(ctx context.Context) {
	left := linger
	if end, ok := ctx.Deadline(); ok && ctx.Err() == nil {
		left = max(left, min(time.Until(end), lastExport))
	}
	if old := t.live.Swap(nil); old != nil {
		old.CloseIn(left)
	}
	t.leaving.Wait()
}

// maxTracesPEM bounds the files of certificates.
const maxTracesPEM = 1 << 20

// tracesTLS reads the files of c; nil is the defaults.
func tracesTLS(c *config.TracesTLS) (*tls.Config, []byte, error) {
	secure := pool.TLSConfig()
	if c == nil {
		return secure, nil, nil
	}
	ca, err1 := tracesFile(c.CA)
	cert, err2 := tracesFile(c.Cert)
	key, err3 := tracesFile(c.Key)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, fmt.Errorf("telemetry.traces.tls: %w", err)
	}
	if c.CA != "" {
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(ca) {
			return nil, nil, errors.New("telemetry.traces.tls.ca: the file holds no certificate (PEM)")
		}
	}
	if c.Cert != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, nil, fmt.Errorf("telemetry.traces.tls.cert: the files are not a certificate and its key: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	return secure, bytes.Join([][]byte{ca, cert, key}, []byte{0}), nil
}

func tracesFile(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name) //nolint:gosec // whoever writes the configuration may name files
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return io.ReadAll(io.LimitReader(f, maxTracesPEM))
}

// A tracedPolicy is a policy whose time shows in traces, with what comes after it.
type tracedPolicy struct {
	next        airside.Handler
	label, kind string
}

// Handle implements [airside.Handler].
func (p *tracedPolicy) Handle(x *airside.Exchange) (*http.Response, error) {
	s := x.Trace.Begin(p.label, airside.SpanInternal, slog.String("airside.policy", p.kind))
	resp, err := p.next.Handle(x)
	s.End(err)
	return resp, err
}

// traced shows a policy in traces, where there are any.
func (b *builder) traced(u *used, h airside.Handler) airside.Handler {
	if !traces(b.config.Telemetry.Traces) {
		return h
	}
	return &tracedPolicy{next: h, label: u.label, kind: u.kind}
}
