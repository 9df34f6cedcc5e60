package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"
)

// The bounds of a sink.
const (
	gathered    = 32 << 10              // bytes that are worth a write
	patience    = 50 * time.Millisecond // that a line waits for others
	maxPending  = 1 << 20               // bytes in memory, beyond which lines are lost
	lastPending = 2 << 20               // the same, for warnings and errors
	keptBuffer  = 128 << 10             // the capacity of a buffer that is used again
	closeTime   = 2 * time.Second       // that a flush waits for the writer
)

// A sink writes lines by a goroutine of its own, so that a writer that is slow, or does
// not take anything at all, stops nobody.
type sink struct {
	w      io.Writer
	prompt bool // lines do not wait for others

	wake  chan struct{} // the goroutine has something to do
	ended chan struct{} // it has ended
	tell  func(lost int)

	mu      sync.Mutex
	pending batch
	writing batch
	spare   []byte // for the next batch
	urgent  bool   // pending must not wait
	closing bool
	closed  bool   // there is no goroutine any more
	torn    bool   // the last write ended within a line
	lost    int    // lines, of which nothing is said yet
	told    int    // lines, of which a line in a batch tells
	gone    uint64 // lines that were lost, ever
}

// A batch is lines that are written together.
type batch struct {
	b    []byte
	done chan struct{} // closed when they are; made if somebody waits
}

var errPending = errors.New("telemetry: the log has lines that its output does not take")

func newSink(w io.Writer, prompt bool) *sink {
	return &sink{w: w, prompt: prompt, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start begins to write. tell writes a line that says how many were lost.
func (s *sink) start(tell func(lost int)) {
	s.tell = tell
	go s.run()
}

// line takes a line to be written.
func (s *sink) line(level slog.Level, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_, err := s.w.Write(b)
		return err
	}
	bound := maxPending
	if level >= slog.LevelWarn {
		bound = lastPending
	}
	if len(s.pending.b)+len(s.writing.b)+len(b) > bound {
		s.lost++
		s.gone++
		return nil
	}
	first := len(s.pending.b) == 0
	s.pending.b = append(s.pending.b, b...)
	if s.prompt || level >= slog.LevelWarn || len(s.pending.b) >= gathered {
		s.hurry()
	} else if first {
		s.signal()
	}
	return nil
}

// hurry has the goroutine write what is pending. The caller holds mu.
func (s *sink) hurry() {
	if !s.urgent {
		s.urgent = true
		s.signal()
	}
}

func (s *sink) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it knows
	}
}

// run writes until the sink is closed.
func (s *sink) run() {
	defer close(s.ended)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		<-s.wake
		if s.waits() {
			timer.Reset(patience)
			select {
			case <-timer.C:
			case <-s.wake:
			}
		}
		for s.write() {
		}
		if s.finished() {
			return
		}
	}
}

// waits reports whether what is pending may wait for more.
func (s *sink) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.urgent && !s.closing && len(s.pending.b) > 0
}

// finished ends the sink if it is closed and nothing is left.
func (s *sink) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closing && len(s.pending.b) == 0
	return s.closed
}

// write writes what is pending. It reports whether there is more that must not wait.
func (s *sink) write() (more bool) {
	s.mu.Lock()
	if len(s.pending.b) == 0 {
		s.urgent = false
		s.mu.Unlock()
		return false
	}
	s.writing, s.pending, s.spare, s.urgent = s.pending, batch{b: s.spare[:0]}, nil, false
	b, torn := s.writing.b, s.torn
	s.mu.Unlock()
	n, err := s.put(b, torn)
	s.mu.Lock()
	lost := s.account(b, n, err)
	if cap(b) <= keptBuffer {
		s.spare = b[:0]
	}
	if s.writing.done != nil {
		close(s.writing.done)
	}
	s.writing = batch{}
	s.mu.Unlock()
	if lost > 0 {
		s.tell(lost)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return (s.urgent || s.closing) && len(s.pending.b) > 0
}

// put writes b, on a line of its own.
func (s *sink) put(b []byte, torn bool) (int, error) {
	if torn {
		if _, err := s.w.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
	}
	return s.w.Write(b)
}

// account counts what a write of b that wrote n bytes has lost, and returns how many
// lines were lost, if it is time to say so. The caller holds mu.
func (s *sink) account(b []byte, n int, err error) int {
	if err == nil {
		s.torn, s.told = false, 0
		lost := s.lost
		s.lost, s.told = 0, lost
		return lost
	}
	rest := b[min(max(n, 0), len(b)):]
	lost := bytes.Count(rest, []byte{'\n'})
	s.lost += lost
	s.gone += uint64(lost) //nolint:gosec // a count
	if s.told > 0 {        // the line that was to tell of them is one of the lost
		s.gone--
		s.lost += s.told - 1
		s.told = 0
	}
	if n > 0 {
		s.torn = len(rest) > 0 && b[n-1] != '\n'
	}
	return 0
}

// flush waits for what is pending to be written.
func (s *sink) flush() error {
	s.mu.Lock()
	b := &s.pending
	if len(b.b) == 0 {
		b = &s.writing
	}
	if s.closed || len(b.b) == 0 {
		s.mu.Unlock()
		return nil
	}
	if b.done == nil {
		b.done = make(chan struct{})
	}
	done := b.done
	s.hurry()
	s.mu.Unlock()
	return await(done)
}

// losses is how many lines were lost, ever.
func (s *sink) losses() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// close writes what is pending, and ends the goroutine.
func (s *sink) close() error {
	s.mu.Lock()
	s.closing = true
	s.signal()
	s.mu.Unlock()
	return await(s.ended)
}

func await(done <-chan struct{}) error {
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errPending
	}
}
