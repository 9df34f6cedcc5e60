package airside

import (
	"encoding/binary"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what is recorded of one exchange.
const (
	MaxSpans      = 64  // spans; further ones are counted, and not recorded
	MaxSpanEvents = 128 // events of all spans
	MaxSpanAttrs  = 768 // attributes of all spans and events
)

// A SpanKind says which side of a call a span is. Its values are those of OTLP.
type SpanKind uint8

// The kinds.
const (
	SpanInternal SpanKind = 1 // something that the gateway does
	SpanServer   SpanKind = 2 // the exchange
	SpanClient   SpanKind = 3 // a call of an agent
)

// A Trace is what is recorded of one exchange, and the place of the exchange in the trace
// of whoever asks. A nil Trace records nothing, and all methods may be called on it.
//
// It is safe for concurrent use, until it is sealed: then its spans are inert, and it
// belongs to whoever sealed it, who may use it again.
type Trace struct {
	mu      sync.Mutex
	turn    uint32 // grows when it is sealed: earlier spans are of another exchange
	context TraceContext
	own     SpanID // of the exchange itself, as in spans
	record  bool
	sealed  bool
	start   time.Time
	spans   []SpanRecord // the first is the exchange itself
	attrs   []ownedAttr
	events  []SpanEvent
	lost    int   // spans that had no room
	current int32 // the innermost internal span that is open
	calls   int   // client spans so far
	open    int
}

// A SpanRecord is a span as it was recorded. Begin and End are times since the trace
// began.
type SpanRecord struct {
	ID, Parent SpanID
	Name       string
	Kind       SpanKind
	Begin, End time.Duration
	Resent     int    // of a client span, how many came before it
	Failed     Code   // why it failed; empty if it did not
	Message    string // what went wrong, once the trace is sealed

	err    error
	over   bool
	parent int32
}

// A SpanEvent is something that happened at one moment of a span.
type SpanEvent struct {
	Name string
	At   time.Duration // since the trace began
	span int32
}

// An ownedAttr belongs to a span, or to an event, whose index is ^owner.
type ownedAttr struct {
	slog.Attr

	owner int32
}

// A Span is one that is being recorded. The zero Span is none, and all methods may be
// called on it.
type Span struct {
	t    *Trace
	turn uint32
	at   int32 // noSpan: there is one, but nothing is recorded of it
}

const noSpan = -1

// Open begins t anew, at start, below what c names. With record the exchange and its spans
// are recorded; else t only passes the context on. Only whoever makes traces calls it.
func (t *Trace) Open(c TraceContext, start time.Time, record bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.spans)
	clear(t.attrs)
	t.context, t.own, t.start, t.record, t.sealed = c, newSpanID(), start, record, false
	t.spans, t.attrs, t.events = t.spans[:0], t.attrs[:0], t.events[:0]
	t.lost, t.current, t.calls, t.open = 0, 0, 0, 0
	t.spans = append(t.spans, SpanRecord{ID: t.own, Parent: c.Span, Kind: SpanServer, parent: noSpan})
}

// NewTraceID returns a random id, for an exchange that comes without one.
func NewTraceID() (id TraceID) {
	for id == (TraceID{}) {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // an id, not a secret
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // an id, not a secret
	}
	return id
}

func newSpanID() (id SpanID) {
	for id == (SpanID{}) {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // an id, not a secret
	}
	return id
}

// ID is the id of the trace in hexadecimal; empty for none.
func (t *Trace) ID() string {
	if t == nil {
		return ""
	}
	return t.context.Trace.String()
}

// SpanID is the id of the exchange's own span in hexadecimal; empty for none.
func (t *Trace) SpanID() string {
	if t == nil {
		return ""
	}
	return t.own.String()
}

// Context is what t was opened with. Its Span is that of who asks; zero if the trace
// begins here.
func (t *Trace) Context() TraceContext {
	if t == nil {
		return TraceContext{}
	}
	return t.context
}

// Sampled reports whether the trace is exported whatever becomes of the exchange.
func (t *Trace) Sampled() bool { return t != nil && t.context.Flags&TraceSampled != 0 }

// Recording reports whether spans are recorded. Who needs to compute an attribute may ask
// first.
func (t *Trace) Recording() bool { return t != nil && t.record }

// Begin begins a span with attributes; see [Span.Attr]. What begins before an internal span has ended is below it: internal
// spans are for one goroutine, client spans for any. A trace has at most [MaxSpans].
func (t *Trace) Begin(name string, kind SpanKind, attrs ...slog.Attr) Span {
	if t == nil {
		return Span{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Span{t: t, turn: t.turn, at: noSpan}
	if !t.record || t.sealed { // who is late finds it sealed
		return s
	}
	if len(t.spans) == MaxSpans {
		t.lost++
		return s
	}
	r := SpanRecord{
		ID: newSpanID(), Parent: t.spans[t.current].ID, parent: t.current,
		Name: name, Kind: kind, Begin: time.Since(t.start),
	}
	if kind == SpanClient {
		r.Resent = t.calls
		t.calls++
	}
	s.at = int32(len(t.spans)) //nolint:gosec // at most MaxSpans
	t.spans = append(t.spans, r)
	t.open++
	for i := range attrs {
		t.attr(s.at, attrs[i])
	}
	if kind == SpanInternal {
		t.current = s.at
	}
	return s
}

// Own is the span of the exchange itself.
func (t *Trace) Own() Span {
	if t == nil {
		return Span{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Span{t: t, turn: t.turn}
	if !t.record || t.sealed {
		s.at = noSpan
	}
	return s
}

// Event records that something happened, to the innermost internal span that is open.
func (t *Trace) Event(name string, attrs ...slog.Attr) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.record && !t.sealed {
		t.event(t.current, name, attrs)
	}
}

// lock locks the trace of s and reports whether s can still be written to. If so, the
// caller must unlock it.
func (s Span) lock() bool {
	if s.t == nil || s.at == noSpan {
		return false
	}
	s.t.mu.Lock()
	if s.turn == s.t.turn {
		return true
	}
	s.t.mu.Unlock()
	return false
}

// Exists reports whether s is a span at all: then [Span.Inject] names it.
func (s Span) Exists() bool { return s.t != nil }

// Attr gives s an attribute. It must hold no secret. Its text may be of the request's
// memory.
func (s Span) Attr(a slog.Attr) {
	if !s.lock() {
		return
	}
	defer s.t.mu.Unlock()
	s.t.attr(s.at, a)
}

func (t *Trace) attr(owner int32, a slog.Attr) {
	if len(t.attrs) < MaxSpanAttrs {
		t.attrs = append(t.attrs, ownedAttr{a, owner})
	}
}

// Event records that something happened now.
func (s Span) Event(name string, attrs ...slog.Attr) {
	if !s.lock() {
		return
	}
	defer s.t.mu.Unlock()
	s.t.event(s.at, name, attrs)
}

func (t *Trace) event(span int32, name string, attrs []slog.Attr) {
	if len(t.events) == MaxSpanEvents {
		return
	}
	owner := ^int32(len(t.events)) //nolint:gosec // at most MaxSpanEvents
	t.events = append(t.events, SpanEvent{Name: name, At: time.Since(t.start), span: span})
	for _, a := range attrs {
		t.attr(owner, a)
	}
}

// Answered records that the head of an answer has come, as the event head.
func (s Span) Answered(status int) {
	if !s.lock() {
		return
	}
	defer s.t.mu.Unlock()
	s.t.attr(s.at, slog.Int("http.response.status_code", status))
	s.t.event(s.at, "head", nil)
}

// Fail says why s failed, unless that was said already. It does not end s.
func (s Span) Fail(err error) {
	if err == nil || !s.lock() {
		return
	}
	defer s.t.mu.Unlock()
	s.t.fail(s.at, err)
}

func (t *Trace) fail(at int32, err error) {
	if r := &t.spans[at]; r.Failed == "" {
		r.Failed, r.err = AsError(err).Code, err
	}
}

// End ends s, with an error if it failed. Only the first End counts.
func (s Span) End(err error) {
	if !s.lock() {
		return
	}
	defer s.t.mu.Unlock()
	t := s.t
	r := &t.spans[s.at]
	if r.over || s.at == 0 { // Seal ends the exchange
		return
	}
	if err != nil {
		t.fail(s.at, err)
	}
	r.over, r.End = true, time.Since(t.start)
	t.open--
	if t.current == s.at {
		t.current = r.parent
	}
}

// AppendLines writes traceparent and tracestate of a request that is sent for s to b, as the
// lines that HTTP/1.1 sends. It writes nothing if there is no span.
func (s Span) AppendLines(b []byte) []byte {
	if s.t == nil {
		return b
	}
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.turn != t.turn {
		return b
	}
	b = append(t.parent(append(b, "Traceparent: "...), s.at), "\r\n"...)
	if t.context.State == "" {
		return b
	}
	return append(append(append(b, "Tracestate: "...), t.context.State...), "\r\n"...)
}

// parent writes the traceparent that names a span.
func (t *Trace) parent(b []byte, at int32) []byte {
	id := t.own
	if at != noSpan {
		id = t.spans[at].ID
	}
	return appendTraceparent(b, t.context.Trace, id, t.context.Flags)
}

// Inject sets traceparent and tracestate of a request that is sent for s, and removes those
// of the client. Without a span it leaves h as it is.
func (s Span) Inject(h http.Header) {
	if s.t == nil {
		return
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.turn != s.t.turn {
		return
	}
	h["Traceparent"] = []string{string(s.t.parent(make([]byte, 0, parentEnd), s.at))}
	delete(h, "Tracestate")
	if state := s.t.context.State; state != "" {
		h["Tracestate"] = []string{state}
	}
}

// Seal ends the exchange after took, and all spans that are still open. It reports whether
// none was: then nobody has anything of t, and it may be opened again. With keep the texts
// are copied, so that the record outlives the memory of the request.
func (t *Trace) Seal(took time.Duration, keep bool) (alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn, t.sealed = t.turn+1, true
	t.spans[0].over, t.spans[0].End = true, took
	for i := range t.spans {
		if r := &t.spans[i]; !r.over {
			r.over, r.End = true, max(took, r.Begin)
		}
	}
	if keep {
		t.copyTexts()
	}
	return t.open == 0
}

// copyTexts makes the record stand for itself.
func (t *Trace) copyTexts() {
	t.context.State = strings.Clone(t.context.State)
	for i := range t.spans {
		r := &t.spans[i]
		r.Name = strings.Clone(r.Name)
		if r.err != nil {
			r.Message, r.err = r.err.Error(), nil
		}
	}
	for i := range t.attrs {
		a := &t.attrs[i]
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindInt64, slog.KindUint64, slog.KindBool, slog.KindFloat64:
			a.Value = v
		default:
			a.Value = slog.StringValue(strings.Clone(v.String()))
		}
	}
}

// Start is when the exchange began.
func (t *Trace) Start() time.Time { return t.start }

// Spans are those that were recorded, that of the exchange first, once t is sealed.
func (t *Trace) Spans() []SpanRecord { return t.spans }

// Lost is how many spans there were beside them.
func (t *Trace) Lost() int { return t.lost }

// Attrs are the attributes of a span, by its index in Spans, once t is sealed.
func (t *Trace) Attrs(span int) iter.Seq[slog.Attr] { return t.owned(int32(span)) } //nolint:gosec // at most MaxSpans

// Events are what happened in a span, each with its attributes, once t is sealed.
func (t *Trace) Events(span int) iter.Seq2[SpanEvent, iter.Seq[slog.Attr]] {
	return func(yield func(SpanEvent, iter.Seq[slog.Attr]) bool) {
		for i := range t.events {
			if e := t.events[i]; int(e.span) == span && !yield(e, t.owned(^int32(i))) {
				return
			}
		}
	}
}

func (t *Trace) owned(owner int32) iter.Seq[slog.Attr] {
	return func(yield func(slog.Attr) bool) {
		for i := range t.attrs {
			if t.attrs[i].owner == owner && !yield(t.attrs[i].Attr) {
				return
			}
		}
	}
}
