package sse

import (
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/airside-gateway/airside"
)

var (
	errClosed = errors.New("sse: the body was closed")
	errTaken  = errors.New("sse: the body became the source of another one")
)

// A source gives events one by one, and ends with io.EOF or another error. A
// source that may not wait fails with errWait rather than read from a stream.
type source interface {
	next(wait bool) (Event, error)
	stop()
}

// Body returns a body whose events are what f makes of the events of rc. f sees
// every block, those without data (keep-alive comments) included, and passes on
// what it does not want to change. It runs as the body is read, in step with it
// and in no goroutine of its own: each event goes out as soon as f has yielded
// it, and a Read never waits for a second one.
//
// What f yields as an error ends the body with it, after the events before. A
// broken source shows to f as its error, last. Events are bounded by
// [DefaultMax]; one beyond it is an [airside.UpstreamFailed].
//
// The body must be closed: that closes rc and stops f. Close may be called while
// a Read waits. Bodies nest without being written out and read in between.
func Body(rc io.ReadCloser, f func(iter.Seq2[Event, error]) iter.Seq2[Event, error]) io.ReadCloser {
	from, closer := open(rc, 0)
	return &body{from: &pulled{events: f(sequence(from)), from: from}, rc: closer}
}

// Map returns a body whose events are those of rc, each as f makes it. An event
// for which f reports false is left out, an error of f ends the body with it.
// Events are bounded by max bytes ([DefaultMax] if not positive). Map is [Body]
// for what concerns one event at a time, and faster: it needs no coroutine, and
// one Read passes on all the events that have arrived.
func Map(rc io.ReadCloser, max int, f func(Event) (Event, bool, error)) io.ReadCloser {
	from, closer := open(rc, max)
	return &body{from: &mapped{from: from, f: f}, rc: closer}
}

// Stream returns a body of events. Reading it pulls them one by one; an error
// ends it. It must be closed: that stops events.
func Stream(events iter.Seq2[Event, error]) io.ReadCloser {
	return &body{from: &pulled{events: events}}
}

// open returns the events of rc, and what closes it.
func open(rc io.ReadCloser, max int) (source, io.Closer) {
	if b, ok := rc.(*body); ok && b.take() {
		return b.from, b.rc
	}
	return NewReader(rc, max), rc
}

// sequence yields what s has.
func sequence(s source) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := s.next(true)
			if err == io.EOF { //nolint:errorlint // a broken source may wrap it
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// mapped applies f to each event.
type mapped struct {
	from source
	f    func(Event) (Event, bool, error)
}

func (m *mapped) next(wait bool) (Event, error) {
	for {
		e, err := m.from.next(wait)
		if err != nil {
			return Event{}, err
		}
		e, keep, err := m.f(e)
		if keep || err != nil {
			return e, err
		}
	}
}

func (m *mapped) stop() { m.from.stop() }

// pulled is an iterator, started at the first event asked for.
type pulled struct {
	events iter.Seq2[Event, error]
	from   source // what events draws on, or nil
	pull   func() (Event, error, bool)
	end    func()
}

func (p *pulled) next(wait bool) (Event, error) {
	if !wait {
		return Event{}, errWait // whether it would wait cannot be known
	}
	if p.pull == nil {
		p.pull, p.end = iter.Pull2(p.events)
	}
	e, err, ok := p.pull()
	if !ok {
		return Event{}, io.EOF
	}
	return e, err
}

func (p *pulled) stop() {
	if p.end != nil {
		p.end()
	}
	if p.from != nil {
		p.from.stop()
	}
}

// body writes the events of a source as they are read.
type body struct {
	from source
	rc   io.Closer // nil where there is none

	rest  []byte // of an event that was larger than what it was read into
	large []byte // where such events are written first
	err   error  // what the body ended with

	mu     sync.Mutex // guards what follows
	begun  bool       // was read
	busy   bool       // is being read
	closed bool
	taken  bool // from is another body's
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.begin(); err != nil {
		return 0, err
	}
	defer b.end()
	if len(b.rest) > 0 || len(p) == 0 {
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	}
	n := 0
	for n < len(p) && b.err == nil {
		e, err := b.from.next(n == 0)
		if errors.Is(err, errWait) {
			return n, nil
		}
		if err != nil {
			b.err = fault(err)
			break
		}
		n += b.write(p[n:], e)
	}
	if n > 0 {
		return n, nil // the error comes with the next Read
	}
	return 0, b.err
}

// write puts e into p, or the beginning of it: then the rest is for the next Read.
func (b *body) write(p []byte, e Event) int {
	if size := len(e.Data) + len(e.Type) + len(e.ID) + len(e.Comment); size < len(p) {
		out := Append(p[:0:len(p)], e)
		if len(out) <= len(p) {
			return len(out)
		}
	}
	if cap(b.large) > keepBuffer {
		b.large = nil
	}
	b.large = Append(b.large[:0], e)
	n := copy(p, b.large)
	b.rest = b.large[n:]
	return n
}

// fault tells whose fault an error is.
func fault(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return airside.Errorf(airside.UpstreamFailed,
			"the agent sent an event that is larger than what is allowed here").Because(err)
	}
	return err
}

// Close closes the source, and stops what makes events of it: now, or, if a Read
// is under way, when that returns.
func (b *body) Close() error {
	b.mu.Lock()
	if b.closed || b.taken {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	busy := b.busy
	b.mu.Unlock()
	var err error
	if b.rc != nil {
		err = b.rc.Close()
	}
	if !busy {
		b.from.stop()
	}
	return err
}

func (b *body) begin() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken {
		return errTaken
	}
	if b.closed {
		return errClosed
	}
	b.begun, b.busy = true, true
	return nil
}

func (b *body) end() {
	b.mu.Lock()
	b.busy = false
	closed := b.closed
	b.mu.Unlock()
	if closed {
		b.from.stop()
	}
}

// take hands the source of b to another body, unless reading has begun.
func (b *body) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun || b.closed || b.taken {
		return false
	}
	b.taken = true
	return true
}

// A Writer writes events, each by one Write. Make it by [NewWriter].
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes e as [Append] does. An event that says nothing writes nothing.
func (w *Writer) Send(e Event) error {
	w.buf = Append(w.buf[:0], e)
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.w.Write(w.buf)
	return err
}
