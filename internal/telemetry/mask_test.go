package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestMask proves that no word gets into a line, wherever it stands, and that a line
// without one is as it was.
func TestMask(t *testing.T) {
	var b bytes.Buffer
	base := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var m Mask
	log := slog.New(m.Handler(base.Handler()))
	log.Info("canary", slog.Int("n", 1))
	m.Set([]string{"canary", "(masked)"})
	log.With(slog.String("at", "a canary")).WithGroup("g").Error("the canary died", slog.String("s", "xcanaryx"), slog.Any("err", errors.New("canary")),
		slog.Int("n", 5), slog.Duration("took", time.Second), slog.Any("nil", nil),
		slog.Group("h", slog.String("s", "canary")), slog.Any("any", []string{"a", "canary"}), slog.Any("plain", []int{1}))
	log.Debug("all is well", slog.Any("err", errors.New("plain")))
	m.Set(nil)
	log.Warn("canary")
	want := `level=INFO msg=canary n=1
level=ERROR msg="the (masked) died" at="a (masked)" g.s=x(masked)x g.err=(masked) g.n=5 g.took=1s g.nil=<nil> g.h.s=(masked) g.any="[a (masked)]" g.plain=[1]
level=DEBUG msg="all is well" err=plain
level=WARN msg=canary
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestSwitch proves that a change of format and level is in force at once, for loggers
// that were made before too, and that a format that there is not changes nothing.
func TestSwitch(t *testing.T) {
	var b bytes.Buffer
	l, err := Open(Output{Writer: &b}, JSON, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	part := l.With(slog.String("at", "policies.p")).WithGroup("g")
	part.Info("one", slog.Int("n", 1))
	part.Debug("not shown")
	if err := l.Set(Text, slog.LevelDebug); err != nil {
		t.Fatal(err)
	}
	part.Debug("two", slog.Int("n", 2))
	l.Info("three")
	if err := l.Set("xml", slog.LevelError); err == nil {
		t.Error("the format xml was taken")
	}
	l.Debug("four")
	if err := l.Set(JSON, slog.LevelError); err != nil {
		t.Fatal(err)
	}
	l.Warn("not shown")
	part.Error("five")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := []string{`"msg":"one","at":"policies.p","g":{"n":1}}`, "DEBUG two at=policies.p n=2", "INFO three", "DEBUG four", `"msg":"five","at":"policies.p"`}
	if len(lines) != len(want) {
		t.Fatalf("got\n%s", b.String())
	}
	for i := range want {
		if !strings.Contains(lines[i], want[i]) {
			t.Errorf("line %d is %s, want %s", i, lines[i], want[i])
		}
	}
	if _, err := Open(Output{Writer: &b}, "xml", slog.LevelInfo); err == nil {
		t.Error("a log was opened in the format xml")
	}
}
