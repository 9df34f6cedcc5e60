package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Console is a [slog.Handler] for people: an exchange is a line that reads from
// left to right, everything else its message and its attributes.
type Console struct {
	level  slog.Leveler
	colour bool
	attrs  []slog.Attr
	out    lines
}

// NewConsole returns a handler that writes to w, with or without colour.
func NewConsole(w io.Writer, level slog.Leveler, colour bool) *Console {
	return newConsole(&writer{w: w}, level, colour)
}

func newConsole(out lines, level slog.Leveler, colour bool) *Console {
	return &Console{level: level, colour: colour, out: out}
}

// Enabled reports whether records of level are written.
func (c *Console) Enabled(_ context.Context, level slog.Level) bool { return level >= c.level.Level() }

// WithAttrs returns a handler that adds attrs to each record.
func (c *Console) WithAttrs(attrs []slog.Attr) slog.Handler {
	d := *c
	d.attrs = append(append([]slog.Attr{}, c.attrs...), attrs...)
	return &d
}

// WithGroup returns c: people are served better by a flat line.
func (c *Console) WithGroup(string) slog.Handler { return c }

// Handle writes r as one line.
func (c *Console) Handle(_ context.Context, r slog.Record) error {
	l := line{colour: c.colour}
	l.paint(dim, r.Time.Format("15:04:05.000"))
	if r.Message == "exchange" {
		l.exchange(&r)
	} else {
		l.message(&r, c.attrs)
	}
	l.b.WriteByte('\n')
	return c.out.line(r.Level, []byte(l.b.String()))
}

// Escape sequences of colours.
const (
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

type line struct {
	b      strings.Builder
	colour bool
}

func (l *line) paint(colour, s string) {
	if l.b.Len() > 0 {
		l.b.WriteByte(' ')
	}
	if l.colour {
		l.b.WriteString("\x1b[" + colour + "m" + s + "\x1b[0m")
		return
	}
	l.b.WriteString(s)
}

func (l *line) message(r *slog.Record, more []slog.Attr) {
	colour := map[slog.Level]string{slog.LevelDebug: dim, slog.LevelInfo: cyan, slog.LevelWarn: yellow, slog.LevelError: red}[r.Level]
	l.paint(colour, r.Level.String())
	l.b.WriteString(" " + r.Message)
	for _, a := range more {
		l.attr(a)
	}
	flat(r, l.attr)
}

// flat calls f with each attribute of r, also with those of a group without a name.
func flat(r *slog.Record, f func(slog.Attr)) {
	r.Attrs(func(a slog.Attr) bool {
		flatAttr(a, f)
		return true
	})
}

func flatAttr(a slog.Attr, f func(slog.Attr)) {
	if a.Key != "" || a.Value.Kind() != slog.KindGroup {
		f(a)
		return
	}
	for _, b := range a.Value.Group() {
		flatAttr(b, f)
	}
}

func (l *line) attr(a slog.Attr) {
	l.paint(dim, a.Key+"=")
	l.b.WriteString(quoted(a.Value.Resolve().String()))
}

// exchange writes the line of an exchange:
//
//	12:00:00.000 200 GET localhost:8080/agent1/x → agent1 12ms 1.2KiB caller=alice
func (l *line) exchange(r *slog.Record) {
	v := map[string]slog.Value{}
	flat(r, func(a slog.Attr) { v[a.Key] = a.Value.Resolve() })
	if s := v["status"]; s.Kind() == slog.KindInt64 {
		l.paint(statusColour(s.Int64()), s.String())
	}
	if target := said(v["host"]) + said(v["path"]); said(v["method"])+target != "" {
		l.b.WriteString(" " + quoted(said(v["method"])) + " " + quoted(target))
	}
	if up, ok := v["upstream"]; ok {
		l.b.WriteString(" → " + quoted(up.String()))
	}
	if d := v["took"]; d.Kind() == slog.KindDuration {
		l.paint(dim, d.Duration().Round(100*time.Microsecond).String())
	}
	if n := v["out"]; n.Kind() == slog.KindInt64 {
		l.paint(dim, n.String()+"B")
	}
	for _, k := range []string{"caller", "err"} {
		if a, ok := v[k]; ok {
			l.attr(slog.Attr{Key: k, Value: a})
		}
	}
	flat(r, func(a slog.Attr) {
		if !slices.Contains(shownFields[:], a.Key) {
			l.attr(a)
		}
	})
}

// shownFields are the fields of an exchange that the line shows in its own way, or leaves out.
// Others were asked for.
var shownFields = [...]string{
	"id", "client", "method", "host", "path", "status", "took", "in", "out", "http", "route", "upstream", "endpoint", "caller",
	"target", "tries", "failed", "trace_id", "span_id", "err",
}

// said is the text of v; a value that is not there has none.
func said(v slog.Value) string {
	if v.Kind() == slog.KindAny && v.Any() == nil {
		return ""
	}
	return v.String()
}

func statusColour(status int64) string {
	switch {
	case status >= 500:
		return red
	case status >= 400:
		return yellow
	}
	return green
}

// quoted quotes s if a terminal, or a reader, could take it for something else.
func quoted(s string) string {
	plain := utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool {
		return !unicode.IsPrint(c) || c == ' ' || c == '"'
	})
	if plain && s != "" {
		return s
	}
	return strconv.Quote(s)
}
