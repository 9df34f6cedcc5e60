package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A logfmtHandler writes key=value pairs. Values, and durations, are those of the
// jsonHandler; what holds a space, a quote, an equals sign, a backslash, or anything
// beyond ASCII is quoted, and escaped as JSON is. Groups are prefixes of keys.
type logfmtHandler struct {
	level  slog.Leveler
	out    lines
	clock  *clock
	before []byte // the attributes of WithAttrs, as they are written
	prefix string // of WithGroup
}

func newLogfmt(out lines, level slog.Leveler) *logfmtHandler {
	return &logfmtHandler{level: level, out: out, clock: &clock{}}
}

// Enabled reports whether records of level are written.
func (h *logfmtHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithGroup returns a handler that puts name before the keys of what comes later.
func (h *logfmtHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	d := *h
	d.prefix += name + "."
	return &d
}

// WithAttrs returns a handler that adds attrs to each record.
func (h *logfmtHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	e := logfmtEncoder{b: slices.Clone(h.before)}
	for _, a := range attrs {
		e.attr(h.prefix, a)
	}
	d := *h
	d.before = slices.Clip(e.b)
	return &d
}

// Handle writes r as one line.
func (h *logfmtHandler) Handle(_ context.Context, r slog.Record) error {
	e := h.encode(&r)
	defer e.release()
	return h.out.line(r.Level, e.b)
}

// writeUnless writes r, unless the line may hold a word that words finds. Then nothing
// is written, and ok is false.
func (h *logfmtHandler) writeUnless(r slog.Record, words *finder) (ok bool, err error) {
	e := h.encode(&r)
	defer e.release()
	if words.in(e.b) {
		return false, nil
	}
	return true, h.out.line(r.Level, e.b)
}

// A logfmtEncoder makes one line. Every pair ends in a space, but for the last.
type logfmtEncoder struct {
	b      []byte
	prefix string

	each func(slog.Attr) bool // adds one attribute; made once
}

var logfmtEncoders = sync.Pool{New: func() any {
	e := &logfmtEncoder{b: make([]byte, 0, 1024)}
	e.each = func(a slog.Attr) bool {
		e.attr(e.prefix, a)
		return true
	}
	return e
}}

func (e *logfmtEncoder) release() {
	if cap(e.b) <= maxLine {
		logfmtEncoders.Put(e)
	}
}

func (h *logfmtHandler) encode(r *slog.Record) *logfmtEncoder {
	e, _ := logfmtEncoders.Get().(*logfmtEncoder) // the pool holds nothing else
	e.b, e.prefix = e.b[:0], h.prefix
	if !r.Time.IsZero() {
		e.b = append(e.b, "time="...)
		e.b = append(unquoted(h.clock, e.b, r.Time), ' ')
	}
	e.text("", slog.LevelKey, r.Level.String())
	e.text("", slog.MessageKey, r.Message)
	e.b = append(e.b, h.before...)
	r.Attrs(e.each)
	e.b[len(e.b)-1] = '\n' // there is a pair at least
	return e
}

// unquoted writes t as the clock does, without its quotes.
func unquoted(c *clock, b []byte, t time.Time) []byte {
	at := len(b)
	b = c.append(b, t)
	copy(b[at:], b[at+1:len(b)-1])
	return b[:len(b)-2]
}

func (e *logfmtEncoder) key(prefix, name string) {
	for _, s := range [...]string{prefix, name} {
		for i := range len(s) {
			if c := s[i]; plain(c) {
				e.b = append(e.b, c)
			} else {
				e.b = append(e.b, '_')
			}
		}
	}
	e.b = append(e.b, '=')
}

// plain reports whether a byte stands for itself outside quotes.
func plain(c byte) bool {
	return c > ' ' && c < utf8.RuneSelf-1 && c != '"' && c != '=' && c != '\\'
}

func (e *logfmtEncoder) text(prefix, name, s string) {
	e.key(prefix, name)
	bare := s != ""
	for i := 0; bare && i < len(s); i++ {
		bare = plain(s[i])
	}
	if bare {
		e.b = append(e.b, s...)
	} else {
		e.b = append(appendVisible(append(e.b, '"'), s), '"')
	}
	e.b = append(e.b, ' ')
}

// appendVisible is appendEscaped for lines that are read in terminals: what is no visible
// character is escaped, too. A terminal takes some for commands (U+009B), and others turn
// round what is shown after them (U+202E).
func appendVisible(b []byte, s string) []byte {
	start := 0
	for i, r := range s {
		if r < utf8.RuneSelf-1 || unicode.IsPrint(r) || r == utf8.RuneError {
			continue
		}
		b = appendEscaped(b, s[start:i])
		start = i + utf8.RuneLen(r)
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			b = appendHex(appendHex(b, high), low)
		} else {
			b = appendHex(b, r)
		}
	}
	return appendEscaped(b, s[start:])
}

// appendHex appends r, which has 16 bits, as JSON escapes it.
func appendHex(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
}

// attr writes a, unless it is empty.
func (e *logfmtEncoder) attr(prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		e.text(prefix, a.Key, v.String())
	case slog.KindInt64:
		e.key(prefix, a.Key)
		e.b = append(strconv.AppendInt(e.b, v.Int64(), 10), ' ')
	case slog.KindUint64:
		e.key(prefix, a.Key)
		e.b = append(strconv.AppendUint(e.b, v.Uint64(), 10), ' ')
	case slog.KindFloat64:
		e.key(prefix, a.Key)
		e.b = append(strconv.AppendFloat(e.b, v.Float64(), 'g', -1, 64), ' ')
	case slog.KindBool:
		e.key(prefix, a.Key)
		e.b = append(strconv.AppendBool(e.b, v.Bool()), ' ')
	case slog.KindDuration:
		e.key(prefix, a.Key)
		e.b = append(e.b[:len(e.b)-1], "_ms="...)
		e.b = append(appendMilliseconds(e.b, v.Duration()), ' ')
	case slog.KindTime:
		e.text(prefix, a.Key, v.Time().Format(time.RFC3339Nano))
	case slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			e.attr(prefix, member)
		}
	case slog.KindAny, slog.KindLogValuer:
		if a.Key != "" || v.Any() != nil {
			e.text(prefix, a.Key, fmt.Sprint(v.Any()))
		}
	}
}
