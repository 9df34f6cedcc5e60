package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A jsonHandler writes what a [slog.JSONHandler] does, byte for byte, without its
// allocations; but durations are milliseconds, the unit of every dashboard, by a key
// that ends in _ms.
type jsonHandler struct {
	level  slog.Leveler
	out    lines
	clock  *clock
	before []byte   // the attributes of WithAttrs, as they are written
	groups []string // of WithGroup
	open   int      // how many of groups are opened in before
}

func newJSON(out lines, level slog.Leveler) *jsonHandler {
	return &jsonHandler{level: level, out: out, clock: &clock{}}
}

// Enabled reports whether records of level are written.
func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithGroup returns a handler that puts what comes later into the group name.
func (h *jsonHandler) WithGroup(name string) slog.Handler {
	d := *h
	d.groups = append(slices.Clip(h.groups), name)
	return &d
}

// WithAttrs returns a handler that adds attrs to each record.
func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if !slices.ContainsFunc(attrs, func(a slog.Attr) bool { return !emptyGroup(a) }) {
		return h
	}
	e := jsonEncoder{b: slices.Clone(h.before), bare: opens(h.before)}
	e.openGroups(h.groups[h.open:])
	if !e.attrs(attrs) {
		return h
	}
	d := *h
	d.before, d.open = slices.Clip(e.b), len(h.groups)
	return &d
}

func emptyGroup(a slog.Attr) bool {
	return a.Value.Kind() == slog.KindGroup && len(a.Value.Group()) == 0
}

// opens reports whether what follows b is the first of its object.
func opens(b []byte) bool { return len(b) == 0 || b[len(b)-1] == '{' }

// Handle writes r as one line.
func (h *jsonHandler) Handle(_ context.Context, r slog.Record) error {
	e := acquireEncoder()
	defer e.release()
	e.record(h, &r)
	return h.out.line(r.Level, e.b)
}

// writeUnless writes r, unless the line may hold a word that words finds. Then nothing
// is written, and ok is false.
func (h *jsonHandler) writeUnless(r slog.Record, words *finder) (ok bool, err error) {
	e := acquireEncoder()
	defer e.release()
	e.record(h, &r)
	if e.marshalled || words.in(e.b) {
		return false, nil
	}
	return true, h.out.line(r.Level, e.b)
}

// A jsonEncoder makes one line.
type jsonEncoder struct {
	b          []byte
	bare       bool // what comes next is the first of its object
	marshalled bool // a value was written by encoding/json

	each func(slog.Attr) bool // adds one attribute, and sets some; made once
	some bool
}

var encoders = sync.Pool{New: func() any {
	e := &jsonEncoder{b: make([]byte, 0, 1024)}
	e.each = func(a slog.Attr) bool {
		if e.attr(a) {
			e.some = true
		}
		return true
	}
	return e
}}

func acquireEncoder() *jsonEncoder {
	e, _ := encoders.Get().(*jsonEncoder) // the pool holds nothing else
	e.b, e.marshalled = e.b[:0], false
	return e
}

// maxLine is the capacity up to which a buffer is kept for the next line.
const maxLine = 16 << 10

func (e *jsonEncoder) release() {
	if cap(e.b) <= maxLine {
		encoders.Put(e)
	}
}

// record writes r with all that h adds.
func (e *jsonEncoder) record(h *jsonHandler, r *slog.Record) {
	e.b, e.bare = append(e.b, '{'), true
	if !r.Time.IsZero() {
		e.b = append(e.b, `"time":`...)
		e.b = h.clock.append(e.b, r.Time)
		e.bare = false
	}
	e.key(slog.LevelKey)
	e.text(r.Level.String())
	e.key(slog.MessageKey)
	e.text(r.Message)
	if len(h.before) > 0 {
		e.b = append(append(e.b, ','), h.before...)
		e.bare = opens(h.before)
	}
	open := h.open
	if r.NumAttrs() > 0 {
		start := len(e.b)
		e.openGroups(h.groups[open:])
		e.some = false
		r.Attrs(e.each)
		if e.some {
			open = len(h.groups)
		} else {
			e.b = e.b[:start]
		}
	}
	for range open {
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, '}', '\n')
}

func (e *jsonEncoder) openGroups(names []string) {
	for _, name := range names {
		e.key(name)
		e.b, e.bare = append(e.b, '{'), true
	}
}

func (e *jsonEncoder) key(name string) {
	if !e.bare {
		e.b = append(e.b, ',')
	}
	e.bare = false
	e.text(name)
	e.b = append(e.b, ':')
}

func (e *jsonEncoder) text(s string) {
	e.b = append(appendEscaped(append(e.b, '"'), s), '"')
}

// attrs reports whether it wrote anything, as attr does.
func (e *jsonEncoder) attrs(attrs []slog.Attr) bool {
	some := false
	for _, a := range attrs {
		if e.attr(a) {
			some = true
		}
	}
	return some
}

// attr writes a, unless it is empty.
func (e *jsonEncoder) attr(a slog.Attr) bool {
	v := a.Value
	switch v.Kind() {
	case slog.KindString:
		e.key(a.Key)
		e.text(v.String())
	case slog.KindInt64:
		e.key(a.Key)
		e.b = strconv.AppendInt(e.b, v.Int64(), 10)
	case slog.KindUint64:
		e.key(a.Key)
		e.b = strconv.AppendUint(e.b, v.Uint64(), 10)
	case slog.KindBool:
		e.key(a.Key)
		e.b = strconv.AppendBool(e.b, v.Bool())
	case slog.KindDuration:
		e.key(a.Key)
		e.b = append(e.b[:len(e.b)-2], `_ms":`...)
		e.b = appendMilliseconds(e.b, v.Duration())
	case slog.KindTime:
		e.key(a.Key)
		e.b = appendTime(e.b, v.Time())
	case slog.KindFloat64:
		e.key(a.Key)
		e.float(v.Float64())
	case slog.KindGroup:
		return e.group(a.Key, v.Group())
	case slog.KindLogValuer:
		return e.attr(slog.Attr{Key: a.Key, Value: v.Resolve()})
	case slog.KindAny:
		return e.any(a.Key, v.Any())
	}
	return true
}

// group writes an object or, without a key, its members.
func (e *jsonEncoder) group(key string, members []slog.Attr) bool {
	if len(members) == 0 {
		return true // counts as written, as it does for slog
	}
	start, bare := len(e.b), e.bare
	if key == "" {
		return e.attrs(members)
	}
	e.key(key)
	e.b, e.bare = append(e.b, '{'), true
	if !e.attrs(members) {
		e.b, e.bare = e.b[:start], bare
		return false
	}
	e.b, e.bare = append(e.b, '}'), false
	return true
}

func (e *jsonEncoder) any(key string, v any) bool {
	if key == "" && v == nil {
		return false
	}
	if source, ok := v.(*slog.Source); ok {
		if source == nil || *source == (slog.Source{}) {
			return false
		}
		return e.group(key, sourceAttrs(source))
	}
	e.key(key)
	e.value(v)
	return true
}

func sourceAttrs(s *slog.Source) []slog.Attr {
	var attrs []slog.Attr
	if s.Function != "" {
		attrs = append(attrs, slog.String("function", s.Function))
	}
	if s.File != "" {
		attrs = append(attrs, slog.String("file", s.File))
	}
	if s.Line != 0 {
		attrs = append(attrs, slog.Int("line", s.Line))
	}
	return attrs
}

// value writes an error as its text, and anything else as encoding/json does. A value
// that cannot be written does not fail the line.
func (e *jsonEncoder) value(v any) {
	start := len(e.b)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		e.b = e.b[:start]
		if at := reflect.ValueOf(v); at.Kind() == reflect.Pointer && at.IsNil() {
			e.text("<nil>")
			return
		}
		e.text(fmt.Sprintf("!PANIC: %v", p))
	}()
	if _, own := v.(json.Marshaler); !own {
		if err, ok := v.(error); ok {
			e.text(err.Error())
			return
		}
	}
	e.marshalled = true
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		e.failed(err)
		return
	}
	e.b = append(e.b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

func (e *jsonEncoder) failed(err error) { e.text(fmt.Sprintf("!ERROR:%v", err)) }

func (e *jsonEncoder) float(f float64) {
	b, err := json.Marshal(f)
	if err != nil {
		e.failed(err)
		return
	}
	e.b = append(e.b, b...)
}

// appendMilliseconds writes d in milliseconds, to the microsecond, as encoding/json
// writes the number.
func appendMilliseconds(b []byte, d time.Duration) []byte {
	us := d.Microseconds()
	const exact = 1e15 // below, a number has no other shortest form than its digits
	if us <= -exact || us >= exact {
		return strconv.AppendFloat(b, float64(us)/1e3, 'f', -1, 64)
	}
	if us < 0 {
		b, us = append(b, '-'), -us
	}
	b = strconv.AppendInt(b, us/1e3, 10)
	return appendFraction(b, int(us%1e3), 100)
}

// appendFraction writes part, which is less than ten times unit, as the digits behind a
// point, without the noughts at the end.
func appendFraction(b []byte, part, unit int) []byte {
	if part == 0 {
		return b
	}
	b = append(b, '.')
	for ; part > 0; unit /= 10 {
		b = append(b, byte('0'+part/unit)) //nolint:gosec // a digit
		part %= unit
	}
	return b
}

// appendTime writes t as slog does: RFC 3339, to the nanosecond.
func appendTime(b []byte, t time.Time) []byte {
	if y := t.Year(); y < 0 || y >= 10000 {
		return append(b, `"!ERROR:time.Time year outside of range [0,9999]"`...)
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}
