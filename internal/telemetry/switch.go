package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// A Log is a log whose format and level can be changed while it is in use, by all
// loggers that were made of it.
type Log struct {
	*slog.Logger

	out    io.Writer
	colour bool
	level  slog.LevelVar
	live   atomic.Pointer[live]
}

// live is the handler in use.
type live struct {
	format  LogFormat
	handler slog.Handler
}

// Open returns a log that writes to w. Colour is for the format Text on a terminal
// only. It fails if there is no such format.
func Open(w io.Writer, format LogFormat, level slog.Level, colour bool) (*Log, error) {
	l := &Log{out: &writer{w: w}, colour: colour}
	if err := l.Set(format, level); err != nil {
		return nil, err
	}
	l.Logger = slog.New(&switched{log: l})
	return l, nil
}

// Set changes the format and the level. On an error, which says that there is no such
// format, nothing has changed.
func (l *Log) Set(format LogFormat, level slog.Level) error {
	if now := l.live.Load(); now == nil || now.format != format {
		next, err := NewLog(l.out, format, &l.level, l.colour)
		if err != nil {
			return err
		}
		l.live.Store(&live{format, next.Handler()})
	}
	l.level.Set(level)
	return nil
}

// A writer writes one piece after the other: two handlers write to it while one takes
// the place of the other.
type writer struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// switched is a handler that follows its log. Attributes and groups that a logger was
// given are put onto the handler in use, once for each.
type switched struct {
	log   *Log
	steps []func(slog.Handler) slog.Handler
	made  atomic.Pointer[made]
}

// made is what a handler became by the steps.
type made struct {
	of      *live
	handler slog.Handler
}

func (s *switched) Enabled(_ context.Context, level slog.Level) bool {
	return level >= s.log.level.Level()
}

func (s *switched) Handle(ctx context.Context, r slog.Record) error {
	now := s.log.live.Load()
	m := s.made.Load()
	if m == nil || m.of != now {
		m = &made{now, now.handler}
		for _, step := range s.steps {
			m.handler = step(m.handler)
		}
		s.made.Store(m)
	}
	return m.handler.Handle(ctx, r)
}

func (s *switched) WithAttrs(attrs []slog.Attr) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (s *switched) WithGroup(name string) slog.Handler {
	return s.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (s *switched) with(step func(slog.Handler) slog.Handler) slog.Handler {
	return &switched{log: s.log, steps: append(slices.Clip(s.steps), step)}
}
