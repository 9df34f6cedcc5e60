package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/airside-gateway/airside"
)

// reference is the handler of the standard library that ours must not differ from.
func reference(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			return slog.Float64(a.Key+"_ms", float64(a.Value.Duration().Microseconds())/1e3)
		}
		return a
	}})
}

type panics struct{}

func (*panics) Error() string { panic("as it does") }

type named struct {
	A string
	B any `json:"b,omitempty"`
}

func (n named) LogValue() slog.Value {
	return slog.GroupValue(slog.String("a", n.A), slog.Any("b", n.B))
}

func drawText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "a", "level", "0123456", "01234567", "0123456\n", "<&>", "a\u2028b\u2029", "\xe2\x80", "\x7f\x1f\b\f", `"\`, "ééééé"}),
	)
}

func drawTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-1<<37, 1<<38).Draw(t, "s"), rapid.SampledFrom([]int64{0, 1, 100, 999_999_999, 120_000_000}).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "now") {
			at = time.Now()
		}
		zone := rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("a", 3600), time.FixedZone("b", -12345), time.FixedZone("", 0)}).Draw(t, "zone")
		return at.In(zone)
	})
}

func drawValue(depth int) *rapid.Generator[slog.Value] {
	scalar := []*rapid.Generator[slog.Value]{
		rapid.Map(drawText(), slog.StringValue),
		rapid.Map(rapid.Int64(), slog.Int64Value),
		rapid.Map(rapid.Uint64(), slog.Uint64Value),
		rapid.Map(rapid.Float64(), slog.Float64Value),
		rapid.Map(rapid.SampledFrom([]float64{0, 1, 1e21, 1e-7, math.NaN(), math.Inf(1), math.Copysign(0, -1)}), slog.Float64Value),
		rapid.Map(rapid.Bool(), slog.BoolValue),
		rapid.Map(drawTime(), slog.TimeValue),
		rapid.Map(rapid.Int64(), func(n int64) slog.Value { return slog.DurationValue(time.Duration(n)) }),
		rapid.Map(rapid.Int64Range(-1e10, 1e10), func(n int64) slog.Value { return slog.DurationValue(time.Duration(n)) }),
		rapid.Map(drawText(), func(s string) slog.Value { return slog.AnyValue(errors.New(s)) }),
		rapid.Map(drawText(), func(s string) slog.Value { return slog.AnyValue([]any{s, nil, map[string]string{s: s}}) }),
		rapid.SampledFrom([]slog.Value{
			slog.AnyValue(nil), slog.AnyValue((*panics)(nil)), slog.AnyValue(&panics{}), slog.AnyValue(make(chan int)), slog.AnyValue(airside.Secret("s")),
			slog.AnyValue(&slog.Source{File: "f", Line: 3}), slog.AnyValue(&slog.Source{Function: "f"}), slog.AnyValue(json.RawMessage(`{"a": 1}`)),
			slog.AnyValue(slog.LevelWarn + 1), slog.AnyValue([]byte("abc")), slog.AnyValue(named{A: "x", B: 1}), slog.AnyValue(json.RawMessage(`{`)),
		}),
	}
	if depth == 0 {
		return rapid.OneOf(scalar...)
	}
	group := rapid.Map(rapid.SliceOfN(drawAttr(depth-1), 0, 4), func(attrs []slog.Attr) slog.Value { return slog.GroupValue(attrs...) })
	return rapid.OneOf(append(scalar, group)...)
}

// drawAttr draws an attribute that is not empty: behind one within a group, slog forgets
// a comma, and the line is no JSON.
func drawAttr(depth int) *rapid.Generator[slog.Attr] {
	return rapid.Custom(func(t *rapid.T) slog.Attr {
		a := slog.Attr{Key: drawText().Draw(t, "key"), Value: drawValue(depth).Draw(t, "value")}
		if v := a.Value.Resolve(); a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
			a.Key = "k"
		}
		return a
	})
}

// TestJSONIsSlogs proves that every line is what the standard library writes.
func TestJSONIsSlogs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got, want bytes.Buffer
		var ours slog.Handler = newJSON(&writer{w: &got}, slog.LevelDebug)
		theirs := reference(&want)
		for range rapid.IntRange(0, 3).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "grouped") {
				name := drawText().Draw(t, "group")
				ours, theirs = ours.WithGroup(name), theirs.WithGroup(name)
				continue
			}
			attrs := rapid.SliceOfN(drawAttr(1), 0, 3).Draw(t, "with")
			ours, theirs = ours.WithAttrs(attrs), theirs.WithAttrs(attrs)
		}
		for range 2 { // the second finds the second of the first
			at := drawTime().Draw(t, "time")
			if rapid.Bool().Draw(t, "timeless") {
				at = time.Time{}
			}
			level := slog.Level(rapid.IntRange(-4, 9).Draw(t, "level"))
			r := slog.NewRecord(at, level, drawText().Draw(t, "message"), 0)
			r.AddAttrs(rapid.SliceOfN(drawAttr(2), 0, 8).Draw(t, "attrs")...)
			if err := errors.Join(ours.Handle(context.Background(), r), theirs.Handle(context.Background(), r)); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want.String() {
			t.Fatalf("got\n%swant\n%s", got.String(), want.String())
		}
	})
}

// TestJSONEmptyAttrs proves that what is empty is left out, and the line is JSON still.
func TestJSONEmptyAttrs(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newJSON(&writer{w: &b}, slog.LevelInfo))
	log.With(slog.Attr{}).WithGroup("g").With(slog.Group("h", slog.Attr{})).LogAttrs(context.Background(), slog.LevelInfo, "m",
		slog.Attr{}, slog.Group("i", slog.Attr{}, slog.Group("j", slog.Attr{})), slog.Int("n", 1), slog.Group("", slog.Int("o", 2)))
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, b.String())
	}
	if g, ok := line["g"].(map[string]any); !ok || g["n"] != 1.0 || g["o"] != 2.0 || len(g) != 2 || len(line) != 4 {
		t.Errorf("got %s", b.String())
	}
}

// FuzzJSON proves that no text breaks a line, or differs from what slog makes of it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "exchange", "a\nb", "\xff\xfe", "\u2028", `"}`, "01234567\x1f", "\xe2\x80\xa8\xe2\x80"} {
		f.Add(s, s, int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, key, value string, n int64) {
		var got, want bytes.Buffer
		r := slog.NewRecord(time.Unix(0, n), slog.LevelInfo, value, 0)
		r.AddAttrs(slog.String(key, value), slog.Duration(value, time.Duration(n)), slog.Any(key, errors.New(value)))
		if err := errors.Join(newJSON(&writer{w: &got}, slog.LevelInfo).Handle(t.Context(), r), reference(&want).Handle(t.Context(), r)); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("got\n%swant\n%s", got.String(), want.String())
		}
		if !json.Valid(got.Bytes()) || !utf8.Valid(got.Bytes()) || bytes.Count(got.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("not a line of JSON: %q", got.String())
		}
	})
}

// usual is the record of an exchange, as the edge makes it.
func usual() slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "exchange", 0)
	r.AddAttrs(slog.Attr{Value: slog.GroupValue(
		slog.String("id", "0123456789abcdef0123456789abcdef"), slog.String("client", "127.0.0.1"), slog.String("method", "POST"),
		slog.String("host", "127.0.0.1:28080"), slog.String("path", "/v1/chat/completions"), slog.Int("status", 200),
		slog.Duration("took", 2345678), slog.Int64("in", 1024), slog.Int64("out", 1024), slog.Int("http", 1),
		slog.String("route", "/*"), slog.String("upstream", "agent"), slog.String("caller", "load"))})
	return r
}

// TestLogAllocatesNothing proves that the line of an exchange costs no memory, with
// words to hide and without.
func TestLogAllocatesNothing(t *testing.T) {
	l, err := Open(Output{Writer: io.Discard}, JSON, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var m Mask
	h := m.Handler(l.Handler())
	for _, words := range [][]string{nil, {"canary-0123456789", "(masked)"}} {
		m.Set(words)
		r := usual()
		if n := testing.AllocsPerRun(200, func() { _ = h.Handle(context.Background(), r) }); n > 0.5 && !raceEnabled {
			t.Errorf("with %d words: %v allocations a line, want none", len(words)/2, n)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := Open(Output{Writer: io.Discard}, JSON, slog.LevelInfo)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var m Mask
	h, r := m.Handler(l.Handler()), usual()
	run := func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = h.Handle(context.Background(), r)
		}
	}
	b.Run("plain", run)
	m.Set([]string{"canary-0123456789", "(masked)", "another-secret-word", "(masked)"})
	b.Run("masked", run)
}
