// Package h1 is an HTTP/1.1 client for gateways. An exchange runs on the goroutine
// that asks for it: that goroutine writes the request, waits for the answer, and reads
// its body. There is no goroutine, no timer and no context per request, but for a
// request body that is still on its way: one goroutine sends it on.
//
// What it sends is what it is given: it adds Host, the framing, and nothing else. What
// it gets is parsed by internal/http1, strictly.
//
// A connection that was idle may have been closed by the agent. It is looked at before
// it is used again, and if it breaks all the same before a byte of an answer came, the
// request is sent again over a new connection: if nothing of it was sent, or if it may
// be repeated and its body can be had once more.
package h1

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
)

// Settings are what a [Client] is made of.
type Settings struct {
	// Dial makes a connection, TLS included. Its errors are passed on as they are, in an
	// [Error] of the kind Dial.
	Dial func(ctx context.Context) (net.Conn, error)

	MaxIdle int           // unused connections that are kept; 0 none
	Idle    time.Duration // how long one is kept; 0 for ever
	MaxHead int           // bytes of the head of an answer

	// Go runs what sends a request body in a goroutine. Who owns the client waits for
	// it.
	Go func(func())

	// Poison overwrites what an answer is made of when it is closed, and does not use it
	// again, so that tests find who keeps it.
	Poison bool
}

// A Client asks one agent. It may be used by many goroutines at once.
type Client struct {
	settings Settings
	idle     idle
	pipe     atomic.Pointer[http1.Pipe] // kept for the next large body; or nil
}

// New returns a client. Nothing is dialed before it is needed.
func New(s Settings) *Client {
	c := &Client{settings: s}
	c.idle.max, c.idle.limit = s.MaxIdle, s.Idle
	return c
}

// Close closes the connections that are not in use. Those in use are closed when they
// come out of use. No new ones are made.
func (c *Client) Close() {
	c.idle.shut()
	if p := c.pipe.Swap(nil); p != nil {
		p.Close()
	}
}

// A Kind says at which point an exchange failed.
type Kind uint8

// The kinds.
const (
	Dial      Kind = iota // there is no connection; the cause is what Settings.Dial returned
	Closed                // the client was closed
	Invalid               // the request cannot be written down
	Body                  // the body of the request could not be read, or is not as long as announced
	Broke                 // the connection ended before the head of the answer
	Malformed             // the answer is not HTTP/1.1
	TooLarge              // the head of the answer is larger than Settings.MaxHead
	Unasked               // 101 (Switching Protocols), but nobody asked for it
	Refused               // Request.Inform refused an interim answer; the cause is what it returned
	Canceled              // the cause is what [Trip.Cancel] was given
	Cut                   // the body of the answer ended before it was complete
)

// An Error is why an exchange failed.
type Error struct {
	Kind Kind
	Sent bool  // a part of the request may have reached the agent
	Err  error // the cause; never nil
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

var (
	errClosed  = errors.New("h1: the client was closed")
	errOver    = errors.New("h1: the exchange is over")
	errUnasked = errors.New("h1: 101, but nobody asked for it")
	errInterim = errors.New("h1: too many interim answers")
	errNotHTTP = errors.New("h1: the answer is not HTTP")
	errTarget  = errors.New("h1: the target or the host holds a space or a control character")
	errMethod  = errors.New("h1: the method is not a token")
	errField   = errors.New("h1: the name or the value of a header is malformed")
	errSurplus = errors.New("h1: bytes came on a connection that was idle")
	errLonger  = errors.New("h1: the request body is longer than announced")
)

// past is a deadline that has been missed: set, it ends what is under way.
var past = time.Unix(1, 0)

// A Watch is told when the agent is awaited while the body of its answer is read.
type Watch interface {
	Waits() // the agent is awaited from now on
	Heard() // it has spoken
}

// A Trip is one exchange under way. The zero Trip is ready; after an exchange it can
// be used for another once [Trip.Reset] was called.
type Trip struct {
	mu    sync.Mutex // guards what follows
	conn  net.Conn
	dial  context.CancelCauseFunc // while a connection is made
	cause error
}

// Reset makes t ready for another exchange. The last one must have ended.
func (t *Trip) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn, t.dial, t.cause = nil, nil, nil
}

// Cancel ends the exchange at once, whatever is under way; cause must not be nil. Only
// the first call has an effect. It may be called at any time, from any goroutine.
func (t *Trip) Cancel(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		return
	}
	t.cause = cause
	if t.conn != nil {
		_ = t.conn.SetDeadline(past) // it fails on a closed connection only
	}
	if t.dial != nil {
		t.dial(cause)
	}
}

// Cause is what Cancel was called with first; nil if it was not.
func (t *Trip) Cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// attach makes c what Cancel ends. It fails if Cancel came first.
func (t *Trip) attach(c net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause == nil {
		t.conn = c
	}
	return t.cause
}

// detach lets the connection go, and reports whether Cancel has left it alone.
func (t *Trip) detach() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn = nil
	return t.cause == nil
}

// dialing derives the context for making a connection, which Cancel ends, and nothing
// else: a deadline of ctx would pass at a socket before it has passed for the exchange,
// and would look as if the agent could not be reached.
func (t *Trip) dialing(ctx context.Context) (context.Context, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		return nil, t.cause
	}
	ctx, t.dial = context.WithCancelCause(context.WithoutCancel(ctx))
	return ctx, nil
}

// dialed ends that.
func (t *Trip) dialed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dial(nil)
	t.dial = nil
}

// Do sends r and waits for the head of the answer, which it puts into a. The exchange
// goes on until the body of the answer was closed, unless that is [http.NoBody]. Its
// errors are of the type [Error].
//
// Ctx is where the values for dialing come from; its end is not heeded: see
// [Trip.Cancel]. The body is not touched before there is a connection.
func (c *Client) Do(ctx context.Context, t *Trip, r *Request, a *Answer) error {
	o, err := prepare(r)
	if err != nil {
		return err
	}
	sent, fresh := false, false
	for first := true; ; first = false {
		k, err := c.connect(ctx, t, fresh)
		if err == nil && first {
			if err = o.begin(r); err != nil {
				t.detach()
				k.close()
			}
		}
		if err != nil {
			o.release()
			err.Sent = sent
			return err
		}
		o, err = k.exchange(t, r, a, o)
		if err == nil {
			return nil
		}
		sent, fresh = err.Sent || sent, !k.stale
		err.Sent = sent
		if o == nil || !o.again(r) {
			o.release()
			return err
		}
	}
}

// connect finds a connection that is idle, unless a fresh one is wanted, or makes a new
// one.
func (c *Client) connect(ctx context.Context, t *Trip, fresh bool) (*conn, *Error) {
	for !fresh {
		k := c.idle.take()
		if k == nil {
			break
		}
		if !k.driven && !k.silent() {
			k.close()
			continue
		}
		if err := t.attach(k.sock.Conn); err != nil {
			c.idle.put(k)
			return nil, &Error{Kind: Canceled, Err: err}
		}
		k.reused = true
		return k, nil
	}
	ctx, err := t.dialing(ctx)
	if err != nil {
		return nil, &Error{Kind: Canceled, Err: err}
	}
	nc, err := c.settings.Dial(ctx)
	t.dialed()
	if err != nil {
		if cause := t.Cause(); cause != nil {
			return nil, &Error{Kind: Canceled, Err: cause}
		}
		return nil, &Error{Kind: Dial, Err: err}
	}
	k := newConn(c, nc)
	if c.idle.closed() {
		k.close()
		return nil, &Error{Kind: Closed, Err: errClosed}
	}
	if err := t.attach(nc); err != nil {
		k.close()
		return nil, &Error{Kind: Canceled, Err: err}
	}
	return k, nil
}
