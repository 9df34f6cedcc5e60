package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An outlet takes writes, as it is told to.
type outlet struct {
	mu     sync.Mutex
	text   strings.Builder
	writes int
	gate   chan struct{}                   // if not nil, each write waits for it
	fault  func(b []byte) (n int, e error) // if not nil, what a write does
}

func (o *outlet) Write(b []byte) (int, error) {
	if o.gate != nil {
		<-o.gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	if o.fault != nil {
		n, err := o.fault(b)
		o.text.Write(b[:n])
		return n, err
	}
	return o.text.Write(b)
}

func (o *outlet) seen() (text string, writes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.writes
}

// told is how a sink tells of lost lines in these tests.
func opened(t *testing.T, w io.Writer, prompt bool) *sink {
	t.Helper()
	s := newSink(w, prompt)
	s.start(func(n int) { put(t, s, slog.LevelWarn, fmt.Sprintf("lost %d\n", n)) })
	return s
}

func put(t *testing.T, s *sink, level slog.Level, text string) {
	t.Helper()
	if err := s.line(level, []byte(text)); err != nil {
		t.Error(err)
	}
}

func closed(t *testing.T, s *sink) {
	t.Helper()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestSinkGathers proves that lines are written together, after 50 ms at the latest.
func TestSinkGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outlet
		s := opened(t, &o, false)
		put(t, s, slog.LevelInfo, "a\n")
		put(t, s, slog.LevelDebug, "b\n")
		synctest.Wait()
		if text, _ := o.seen(); text != "" {
			t.Errorf("written at once: %q", text)
		}
		<-time.After(patience)
		synctest.Wait()
		if text, writes := o.seen(); text != "a\nb\n" || writes != 1 {
			t.Errorf("got %q in %d writes", text, writes)
		}
		closed(t, s)
	})
}

// TestSinkHurries proves that a warning, a full buffer and a terminal do not wait, and
// that what came before is written before.
func TestSinkHurries(t *testing.T) {
	long := strings.Repeat("x", gathered/4) + "\n"
	for name, tt := range map[string]struct {
		prompt bool
		lines  []string
		last   slog.Level
	}{
		"warning":  {false, []string{"a\n", "b\n", "c\n"}, slog.LevelWarn},
		"full":     {false, []string{long, long, long, long}, slog.LevelInfo},
		"terminal": {true, []string{"a\n"}, slog.LevelInfo},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o outlet
				s, began := opened(t, &o, tt.prompt), time.Now()
				for i, l := range tt.lines {
					level := slog.LevelInfo
					if i == len(tt.lines)-1 {
						level = tt.last
					}
					put(t, s, level, l)
				}
				synctest.Wait()
				if text, _ := o.seen(); text != strings.Join(tt.lines, "") || time.Since(began) != 0 {
					t.Errorf("got %d bytes after %s", len(text), time.Since(began))
				}
				closed(t, s)
			})
		})
	}
}

// TestSinkIsSlow proves that nobody waits for a writer that takes nothing, that memory
// is bounded, that warnings are lost last, and that a line says how many were lost.
func TestSinkIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outlet{gate: make(chan struct{})}
		s := opened(t, &o, false)
		line := strings.Repeat("i", 1023) + "\n"
		for range 2000 {
			put(t, s, slog.LevelInfo, line)
		}
		for range 2000 {
			put(t, s, slog.LevelError, "e"+line)
		}
		s.mu.Lock()
		held := len(s.pending.b) + len(s.writing.b)
		s.mu.Unlock()
		if held > lastPending {
			t.Errorf("%d bytes are held", held)
		}
		close(o.gate)
		if err := s.flush(); err != nil {
			t.Error(err)
		}
		closed(t, s)
		text, _ := o.seen()
		infos, errs := strings.Count(text, "\ni")+1, strings.Count(text, "\ne")
		var lost int
		if _, err := fmt.Sscanf(text[strings.Index(text, "lost"):], "lost %d", &lost); err != nil {
			t.Fatal(err)
		}
		if infos != 1024 || errs < 1000 || lost != 4000-infos-errs || strings.Count(text, "lost") != 1 {
			t.Errorf("%d and %d lines were written, %d lost", infos, errs, lost)
		}
		if got := s.losses(); got != uint64(lost) {
			t.Errorf("%d lines were lost in all, want %d", got, lost)
		}
	})
}

// TestSinkFails proves that lines that a writer refuses are counted, and that a line
// that was cut does not run into the next one.
func TestSinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space")
		answers := []func(b []byte) (int, error){
			func([]byte) (int, error) { return 3, full }, // all of a, and the beginning of b
			func([]byte) (int, error) { return 0, full }, // not even the end of the cut line
		}
		var o outlet
		o.fault = func(b []byte) (int, error) {
			if len(answers) == 0 {
				return len(b), nil
			}
			f := answers[0]
			answers = answers[1:]
			return f(b)
		}
		s := opened(t, &o, false)
		for _, batch := range []string{"a\nb1\nc\n", "d\n", "e\n"} {
			put(t, s, slog.LevelWarn, batch)
			if err := s.flush(); err != nil {
				t.Error(err)
			}
		}
		closed(t, s)
		if text, _ := o.seen(); text != "a\nb\ne\nlost 3\n" || s.losses() != 3 {
			t.Errorf("got %q, %d lost", text, s.losses())
		}
	})
}

// TestSinkForgetsNoLoss proves that what is lost is told of even if the line that was to
// tell of it was lost.
func TestSinkForgetsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outlet
		n := 0
		o.fault = func(b []byte) (int, error) {
			if n++; n == 1 || strings.HasPrefix(string(b), "lost 1\n") && n == 3 {
				return 0, io.ErrShortWrite
			}
			return len(b), nil
		}
		s := opened(t, &o, false)
		for _, l := range []string{"a\n", "b\n", "c\n"} {
			put(t, s, slog.LevelError, l)
			synctest.Wait()
		}
		closed(t, s)
		if text, _ := o.seen(); text != "b\nc\nlost 1\n" || s.losses() != 1 {
			t.Errorf("got %q, %d lost", text, s.losses())
		}
	})
}

// TestSinkCloses proves that closing writes all that came before, that what comes later
// is written at once, and that a writer that takes nothing does not stop the end.
func TestSinkCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outlet
		s := opened(t, &o, false)
		put(t, s, slog.LevelInfo, "a\n")
		closed(t, s)
		put(t, s, slog.LevelInfo, "b\n")
		if text, writes := o.seen(); text != "a\nb\n" || writes != 2 {
			t.Errorf("got %q in %d writes", text, writes)
		}
		closed(t, s)
		if err := s.flush(); err != nil {
			t.Error(err)
		}

		stuck := outlet{gate: make(chan struct{})}
		s = opened(t, &stuck, false)
		put(t, s, slog.LevelInfo, "a\n")
		if err := s.flush(); !errors.Is(err, errPending) {
			t.Errorf("a flush of what is stuck: %v", err)
		}
		if err := s.close(); !errors.Is(err, errPending) {
			t.Errorf("a close of what is stuck: %v", err)
		}
		close(stuck.gate)
		<-s.ended
	})
}

// TestSinkManyWriters proves that no line is lost or cut, and that those of one writer
// keep their order.
func TestSinkManyWriters(t *testing.T) {
	const writers, each = 8, 2000
	var o outlet
	s := opened(t, &o, false)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				put(t, s, slog.LevelInfo, fmt.Sprintf("%d %d\n", w, i))
				if i%500 == 0 {
					if err := s.flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	closed(t, s)
	text, _ := o.seen()
	var next [writers]int
	for l := range strings.Lines(text) {
		var w, i int
		if _, err := fmt.Sscanf(l, "%d %d\n", &w, &i); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if next[w] != i {
			t.Fatalf("of writer %d: got %d, want %d", w, i, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("of writer %d: %d lines", w, n)
		}
	}
}
