package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

func exchangeLine(log *slog.Logger, path string) {
	log.LogAttrs(context.Background(), slog.LevelInfo, "exchange",
		slog.String("method", "GET"), slog.String("host", "h"), slog.String("path", path), slog.Int("status", 404),
		slog.Duration("took", 1234567*time.Nanosecond), slog.Int64("out", 12), slog.String("upstream", "agent"), slog.String("caller", "ward"))
}

func TestConsole(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLog(&b, Text, slog.LevelInfo, false)
	if err != nil {
		t.Fatal(err)
	}
	exchangeLine(log, "/a")
	log.LogAttrs(context.Background(), slog.LevelInfo, "exchange", slog.Attr{Value: slog.GroupValue( // as the edge does
		slog.String("method", "GET"), slog.String("host", "h"), slog.String("path", "/b"), slog.Int("status", 200), slog.Duration("took", 0), slog.Int64("out", 0))})
	log.Warn("look out", slog.String("at", "airside.yaml:1:2"))
	log.Debug("not shown")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} 404 GET h/a → agent 1\.2ms 12B caller=ward
\d\d:\d\d:\d\d\.\d{3} 200 GET h/b 0s 0B
\d\d:\d\d:\d\d\.\d{3} WARN look out at=airside.yaml:1:2
$`)
	if !want.Match(b.Bytes()) {
		t.Errorf("got\n%s", b.String())
	}
}

// What a client sends cannot begin another line, nor colour the terminal.
func TestConsoleQuotes(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLog(&b, Text, slog.LevelInfo, true)
	if err != nil {
		t.Fatal(err)
	}
	exchangeLine(log, "/a\n200 GET \x1b[31m\u202e")
	if got := strings.Count(b.String(), "\n"); got != 1 {
		t.Errorf("%d lines: %q", got, b.String())
	}
	if strings.Contains(b.String(), "\x1b[31m\u202e") || strings.Contains(b.String(), "\u202e") {
		t.Errorf("control characters got through: %q", b.String())
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLog(&b, JSON, slog.LevelInfo, false)
	if err != nil {
		t.Fatal(err)
	}
	exchangeLine(log, "/a\n")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["took_ms"] != 1.234 || line["path"] != "/a\n" || line["msg"] != "exchange" {
		t.Errorf("got %v", line)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := NewLog(nil, "xml", slog.LevelInfo, false); err == nil {
		t.Error("accepted")
	}
}

// A stuck takes nothing until it is let go.
type stuck struct {
	free chan struct{}
	text bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.free
	return s.text.Write(b)
}

// TestLogStopsNobody proves that a log whose output takes nothing makes nobody wait, and
// that it says how many lines were lost, even where only errors are wanted.
func TestLogStopsNobody(t *testing.T) {
	out := &stuck{free: make(chan struct{})}
	l, err := Open(Output{Writer: out}, JSON, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Repeat("a", 1000)
	for range 3000 {
		exchangeLine(l.Logger, path)
	}
	if err := l.Set(JSON, slog.LevelError); err != nil {
		t.Fatal(err)
	}
	close(out.free)
	if err := l.Flush(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.text.String(), "\n"), "\n")
	var last struct {
		Msg   string
		Lines int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(last.Msg, "lines of the log were lost") || last.Lines+len(lines)-1 != 3000 {
		t.Errorf("%d lines were written, and the last is %+v", len(lines), last)
	}
}
