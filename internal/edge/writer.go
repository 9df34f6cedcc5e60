package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
	"github.com/airside-gateway/airside/proto/web"
)

// past is a deadline that has been missed: set, it ends what is under way.
var past = time.Unix(1, 0)

// A gate lets other goroutines end what is under way on a connection, as long as the
// exchange lasts: afterwards the engine does not stand it.
type gate struct {
	mu   sync.Mutex
	ctl  *http.ResponseController
	over bool
}

// endRead ends a read that is under way, and those to come.
func (g *gate) endRead() { g.end((*http.ResponseController).SetReadDeadline) }

// endWrite ends a write that is under way, and those to come.
func (g *gate) endWrite() { g.end((*http.ResponseController).SetWriteDeadline) }

func (g *gate) end(set func(*http.ResponseController, time.Time) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		_ = set(g.ctl, past) // an engine without deadlines bounds the connection as a whole
	}
}

// close makes the gate do nothing from now on.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
}

// An alarm rings when one read or write takes too long. A deadline set ahead on
// the connection would not do: on HTTP/2 it fires even while nothing is under way,
// and would end a stream that is merely quiet.
type alarm struct {
	after time.Duration // 0: never
	ring  func()
	timer *time.Timer
}

func (a *alarm) arm() {
	switch {
	case a.after <= 0:
	case a.timer == nil:
		a.timer = time.AfterFunc(a.after, a.ring)
	default:
		a.timer.Reset(a.after)
	}
}

func (a *alarm) disarm() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// A writer writes the body of an answer to the client, each write within a time-out,
// and before it the head.
type writer struct {
	e       *exchange
	resp    *http.Response
	slow    alarm
	flushes bool // send every piece at once
	begun   bool // the head was written
	n       int64
}

// open makes d write the answer resp.
func (d *writer) open(e *exchange, resp *http.Response, flushes bool) {
	*d = writer{e: e, resp: resp, flushes: flushes}
	if e.fast == nil {
		d.slow = alarm{after: e.listener.Limits.WriteTimeout, ring: e.gate.endWrite}
	}
}

// begin writes the head.
func (d *writer) begin() {
	d.begun = true
	if d.e.body != nil {
		d.e.body.answered.Store(true)
	}
	d.e.writeHead(d.resp.StatusCode)
}

// copy copies src until its end. Errors of src are returned as they are, those of
// the client wrapped in errClient.
func (d *writer) copy(src io.Reader) error {
	if w, ok := src.(io.WriterTo); ok {
		_, err := w.WriteTo(d)
		return err
	}
	var buf []byte
	if web.EventStream(d.resp.Header) {
		b := streams.Get().(*stream) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		defer streams.Put(b)
		buf = b[:]
	} else {
		b := bulks.Get().(*bulk) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		defer bulks.Put(b)
		buf = b[:]
	}
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := d.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write writes p and, where asked to, sends it at once.
func (d *writer) Write(p []byte) (int, error) {
	if !d.begun {
		d.begin()
	}
	d.slow.arm()
	n, err := d.e.w.Write(p)
	d.n += int64(n)
	if err == nil && d.flushes {
		err = d.e.ctl.Flush()
	}
	d.slow.disarm()
	if err != nil {
		return n, fmt.Errorf("%w: %w", errClient, err)
	}
	return n, nil
}

// flush sends what was written, the head at least.
func (d *writer) flush() error {
	d.slow.arm()
	defer d.slow.disarm()
	if err := d.e.ctl.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	return nil
}

// A splicer is the writer of our own engine, where it can take bytes that never come
// into the memory of the program.
type splicer interface {
	CanSplice() bool
	Splice(p *http1.Pipe) error
}

// CanSplice reports whether Splice works for the rest of the body.
func (d *writer) CanSplice() bool {
	to, ok := d.e.fast.(splicer)
	if !ok {
		return false
	}
	if !d.begun {
		d.begin()
	}
	return to.CanSplice()
}

// Splice is Write with all that p holds, and sends it at once.
func (d *writer) Splice(p *http1.Pipe) error {
	to, ok := d.e.fast.(splicer)
	if !ok {
		return errNoSplice
	}
	n := p.Len()
	err := to.Splice(p)
	d.n += int64(n - p.Len())
	if err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	return nil
}

var errNoSplice = errors.New("edge: the engine does not splice")
