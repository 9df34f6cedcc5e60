// Package trace decides which exchanges are traced, and sends what was recorded of them to
// a collector by the OpenTelemetry protocol (OTLP), over HTTP or gRPC.
//
// Nothing of it holds up an exchange: what cannot be sent in time is dropped, and counted.
package trace

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
)

// What becomes of the trace that a client sends; see [Settings].Parent.
const (
	ParentFollow = "follow" // it goes on, and is recorded if the client records it
	ParentRatio  = "ratio"  // it goes on, and the ratio decides
	ParentIgnore = "ignore" // a new one begins
)

// Protocols of the collector.
const (
	HTTP = "http" // OTLP/HTTP with binary protobuf
	GRPC = "grpc" // OTLP/gRPC
)

// Settings are how exchanges are traced.
type Settings struct {
	// Sample is the share of the traces that begin here, or of all with ParentRatio, that
	// is exported: 0 to 1. It is decided by the trace id: every gateway with the same
	// share chooses the same ones.
	Sample float64

	// Errors exports an exchange that ended in an error, though it is not of that share.
	Errors bool

	Parent string // ParentFollow, ParentRatio or ParentIgnore
	Caller bool   // tell who asked

	To  Target
	Log *slog.Logger // told when the collector cannot be reached, and when it can again; nil: nobody is told

	// Mask returns a text without what must not be told; nil returns it as it is.
	Mask func(string) string

	Resource []slog.Attr // of the program: service.name and so on
}

// A Tracer traces exchanges. It is safe for concurrent use.
type Tracer struct {
	settings  Settings
	threshold uint64
	exporter  *exporter
	free      sync.Pool
}

// New returns a tracer, whose exporter runs until [Tracer.Close].
func New(s Settings) (*Tracer, error) {
	to, err := s.To.sender()
	if err != nil {
		return nil, err
	}
	if s.Mask == nil {
		s.Mask = func(text string) string { return text }
	}
	t := &Tracer{settings: s, threshold: threshold(s.Sample)}
	t.free.New = func() any { return new(airside.Trace) }
	t.exporter = newExporter(&s, to, t.reuse)
	return t, nil
}

// randomBits is how much of a trace id is random for sure, W3C Trace Context level 2,
// section 3.2.2.3.3.
const randomBits = 56

// threshold is what the random part of a trace id must at least be for a share.
func threshold(share float64) uint64 {
	return uint64((1 - share) * (1 << randomBits))
}

// sampled reports whether id is of the share.
func (t *Tracer) sampled(id *airside.TraceID) bool {
	var random uint64
	for _, b := range id[len(id)-randomBits/8:] {
		random = random<<8 | uint64(b)
	}
	return random >= t.threshold
}

// Begin returns the trace of an exchange that began at start with the header h.
func (t *Tracer) Begin(h http.Header, start time.Time) *airside.Trace {
	var c airside.TraceContext
	var theirs bool
	if t.settings.Parent != ParentIgnore {
		c, theirs = airside.ReadTraceContext(h)
	}
	if !theirs {
		c = airside.TraceContext{Trace: airside.NewTraceID(), Flags: airside.TraceRandom}
	}
	if !theirs || t.settings.Parent == ParentRatio {
		c.Flags &^= airside.TraceSampled
		if t.sampled(&c.Trace) {
			c.Flags |= airside.TraceSampled
		}
	}
	r, _ := t.free.Get().(*airside.Trace) // the pool holds nothing else
	r.Open(c, start, t.settings.Errors || c.Flags&airside.TraceSampled != 0)
	return r
}

// End takes over the trace of x, which has ended with o. If it is to be exported, of is
// asked to describe the exchange first. With alone nobody but this goroutine has anything
// of x. A trace may come from another Tracer.
func (t *Tracer) End(x *airside.Exchange, o *airside.Outcome, of interface{ Describe(s airside.Span) }, alone bool) {
	r := x.Trace
	if !r.Recording() || !r.Sampled() && !(t.settings.Errors && o.Failed()) {
		t.giveBack(r, r.Seal(o.Duration, false) && alone)
		return
	}
	s := r.Own()
	of.Describe(s)
	if t.settings.Caller && x.Caller.ID != "" {
		s.Attr(slog.String("airside.caller", x.Caller.ID))
	}
	alone = r.Seal(o.Duration, true) && alone
	if !t.exporter.offer(item{r, alone}) {
		t.giveBack(r, alone)
	}
}

func (t *Tracer) giveBack(r *airside.Trace, alone bool) {
	if alone {
		t.free.Put(r)
	}
}

func (t *Tracer) reuse(i item) { t.giveBack(i.trace, i.alone) }

// Stats are the counters of the exporter.
func (t *Tracer) Stats() Stats { return t.exporter.stats() }

// Close sends what is left, until ctx ends: what is left then is dropped and counted.
func (t *Tracer) Close(ctx context.Context) { t.exporter.close(ctx) }

// CloseIn is [Tracer.Close] with a bound in time.
func (t *Tracer) CloseIn(d time.Duration) {
	ctx, cancel := context.WithTimeout(t.exporter.ctx, d)
	defer cancel()
	t.Close(ctx)
}
