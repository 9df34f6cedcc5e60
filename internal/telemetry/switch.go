package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
)

// An Output is where a log goes to.
type Output struct {
	Writer   io.Writer
	Terminal bool // somebody looks at it: every line is written as soon as it comes
	Colour   bool // for the format Text, on a terminal only
}

// A Log is a log whose format and level can be changed while it is in use, by all
// loggers that were made of it. It never makes anybody wait: lines are gathered and
// written by a goroutine of its own, once there are 32 KiB of them, or 50 ms after the
// first; a line of a warning or an error at once, with all that came before. Where the
// output cannot keep up, lines are lost rather than memory used without bound, those of
// warnings and errors last, and a line says how many, once it can.
//
// A process that is killed loses what was not yet written. [Log.Close] writes it.
type Log struct {
	*slog.Logger

	out    *sink
	colour bool
	level  slog.LevelVar
	live   atomic.Pointer[live]
}

// live is the handler in use.
type live struct {
	format  LogFormat
	handler slog.Handler
}

// Open returns a log that writes to o. It fails if there is no such format. The log
// must be closed.
func Open(o Output, format LogFormat, level slog.Level) (*Log, error) {
	l := &Log{out: newSink(o.Writer, o.Terminal), colour: o.Colour}
	if err := l.Set(format, level); err != nil {
		return nil, err
	}
	l.Logger = slog.New(&switched{log: l})
	l.out.start(l.lost)
	return l, nil
}

// lost writes that n lines were lost, whatever the level.
func (l *Log) lost(n int) {
	l.LogAttrs(context.Background(), max(slog.LevelWarn, l.level.Level()),
		"lines of the log were lost: they could not be written, or not fast enough", slog.Int("lines", n))
}

// Lost is how many lines were lost since the log was opened.
func (l *Log) Lost() uint64 { return l.out.losses() }

// Flush waits until all lines that came before are written, or for two seconds. The
// error says that some are not.
func (l *Log) Flush() error { return l.out.flush() }

// Close writes what is left, as [Log.Flush] does, and ends the goroutine of the log.
// What is logged later is written at once.
func (l *Log) Close() error { return l.out.close() }

// Set changes the format and the level. On an error, which says that there is no such
// format, nothing has changed.
func (l *Log) Set(format LogFormat, level slog.Level) error {
	if now := l.live.Load(); now == nil || now.format != format {
		next, err := newHandler(l.out, format, &l.level, l.colour)
		if err != nil {
			return err
		}
		l.live.Store(&live{format, next})
	}
	l.level.Set(level)
	return nil
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
	return s.handler().Handle(ctx, r)
}

// writeUnless is that of the handler in use, if it has one.
func (s *switched) writeUnless(r slog.Record, words *finder) (ok bool, err error) {
	if h, can := s.handler().(unlessWriter); can {
		return h.writeUnless(r, words)
	}
	return false, nil
}

func (s *switched) handler() slog.Handler {
	now := s.log.live.Load()
	m := s.made.Load()
	if m == nil || m.of != now {
		m = &made{now, now.handler}
		for _, step := range s.steps {
			m.handler = step(m.handler)
		}
		s.made.Store(m)
	}
	return m.handler
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
