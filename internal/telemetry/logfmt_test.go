package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLogfmt proves how values of every kind are written, and that nothing in them can
// look like another pair or another line.
func TestLogfmt(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 250e6, time.UTC)
	for _, tt := range []struct {
		name string
		make func(slog.Handler) slog.Handler
		attr slog.Attr
		want string
	}{
		{"text", nil, slog.String("path", "/a?b"), "path=/a?b"},
		{"empty", nil, slog.String("path", ""), `path=""`},
		{"space", nil, slog.String("path", "/a b"), `path="/a b"`},
		{"a pair within", nil, slog.String("path", "a=b"), `path="a=b"`},
		{"a line within", nil, slog.String("path", "a\nlevel=INFO"), `path="a\nlevel=INFO"`},
		{"quote", nil, slog.String("path", `"\`), `path="\"\\"`},
		{"beyond ASCII", nil, slog.String("path", "ä\xff\u202e\x7f"), "path=\"ä\ufffd\\u202e\\u007f\""},
		{"key", nil, slog.String("a b=\"c\n", "x"), "a_b__c_=x"},
		{"numbers", nil, slog.Group("", slog.Int("i", -1), slog.Uint64("u", 2), slog.Float64("f", 0.5), slog.Bool("b", true)), "i=-1 u=2 f=0.5 b=true"},
		{"duration", nil, slog.Duration("took", 1234567*time.Nanosecond), "took_ms=1.234"},
		{"time", nil, slog.Time("at", at), "at=2026-11-22T12:00:00.25Z"},
		{"error", nil, slog.Any("err", errors.New("it broke")), `err="it broke"`},
		{"group", nil, slog.Group("g", slog.Int("i", 1)), "g.i=1"},
		{"with", func(h slog.Handler) slog.Handler {
			return h.WithAttrs([]slog.Attr{slog.Int("a", 1)}).WithGroup("g").WithAttrs([]slog.Attr{slog.Int("b", 2)})
		}, slog.Int("c", 3), "a=1 g.b=2 g.c=3"},
		{"nothing", nil, slog.Attr{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			var h slog.Handler = newLogfmt(&writer{w: &b}, slog.LevelInfo)
			if tt.make != nil {
				h = tt.make(h)
			}
			r := slog.NewRecord(at, slog.LevelWarn, "look out", 0)
			r.AddAttrs(tt.attr)
			if err := h.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(`time=2026-11-22T12:00:00.25Z level=WARN msg="look out" `+tt.want, " ") + "\n"
			if got := b.String(); got != want {
				t.Errorf("got  %s want %s", got, want)
			}
		})
	}
}

// TestLogfmtMasks proves that a masked word does not get into a line, neither bare nor
// quoted, and that a line without one is written in one go.
func TestLogfmtMasks(t *testing.T) {
	var b bytes.Buffer
	l, err := Open(Output{Writer: &b}, Logfmt, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	var m Mask
	m.Set([]string{"s3cret-öne", "${env:A}", "plain-secret", "${env:B}"})
	log := slog.New(m.Handler(l.Handler()))
	log.Info("plain-secret", slog.String("a", "plain-secret"), slog.String("b", "x s3cret-öne y"), slog.Any("c", errors.New("of plain-secret")))
	log.Info("fine", slog.Int("a", 1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if strings.Contains(got, "secret-") || strings.Contains(got, "plain-secret") || strings.Count(got, "${env:") != 4 || !strings.Contains(got, "msg=fine a=1\n") {
		t.Errorf("got %s", got)
	}
}

// BenchmarkLogfmt measures the line of an exchange.
func BenchmarkLogfmt(b *testing.B) {
	log, err := NewLog(io.Discard, Logfmt, slog.LevelInfo, false)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		exchangeLine(log, "/agents/symptoms")
	}
}

// TestLogfmtInTerminals proves that no text reaches a terminal as a command, or turns round
// what is shown.
func TestLogfmtInTerminals(t *testing.T) {
	for in, want := range map[string]string{
		"é €\U0001F600":          `"é €😀"`,
		"a\u009b31mb":            `"a\u009b31mb"`,
		"a\x7f\u0085\x1b[31m":    `"a\u007f\u0085\u001b[31m"`,
		"\u202eevil\u2066\u200b": `"\u202eevil\u2066\u200b"`,
		"\U000E0041\u2028":       `"\udb40\udc41\u2028"`,
		"\xff\"\\\u00ad":         "\"\ufffd\\\"\\\\\\u00ad\"",
	} {
		if got := string(appendVisible(append([]byte(nil), '"'), in)) + `"`; got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
