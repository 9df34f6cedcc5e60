package h1

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
)

// maxInterim bounds the interim answers to one request, 100 included.
const maxInterim = 200

// A conn is a connection, and the exchange that is under way on it.
type conn struct {
	client *Client
	sock   *http1.Socket
	tls    *tls.Conn     // or nil
	under  *http1.Socket // of tls, for looking whether anything came
	in     http1.Buffer
	scan   http1.Scan
	since  time.Time // idle from then on
	reused bool
	stale  bool    // something came while it was idle
	driven bool    // the socket is driven
	one    [1]byte // where nothing is to come

	// Functions for driving the socket, made once.
	onHead, onBody func(uintptr) bool

	// The exchange under way.
	trip    *Trip
	req     *Request
	out     *outgoing // as long as it may be needed
	up      *upload   // if the body is sent by a goroutine
	head    *http1.Head
	sending bool // the request is about to be sent
	wrote   int
	interim int
	werr    error  // what sending ended with
	err     *Error // what the exchange ended with

	body    *body     // of the answer
	to      io.Writer // where it goes
	moved   int64
	toErr   error   // what writing there ended with
	splicer splicer // to, if the body is spliced
	over    bool    // the body has ended, with cause
	cause   error   // nil if it was complete
	quiet   bool    // the agent is awaited
}

var heads = sync.Pool{New: func() any { return new(http1.Head) }}

func newConn(c *Client, nc net.Conn) *conn {
	k := &conn{client: c, sock: http1.NewSocket(nc)}
	k.driven = k.sock.CanDrive()
	if k.tls, _ = nc.(*tls.Conn); k.tls != nil {
		k.under = http1.NewSocket(k.tls.NetConn())
	}
	if k.driven {
		k.onHead = k.sock.Step(k.stepHead)
	}
	return k
}

// close closes the connection, in good order if TLS has nothing else to say.
func (k *conn) close() {
	k.in.Release()
	_ = k.sock.Close() // there is nobody to tell
}

// abort closes the connection at once. TLS would wait until it can say so.
func (k *conn) abort() {
	k.in.Release()
	if k.tls != nil {
		_ = k.tls.NetConn().Close()
		return
	}
	_ = k.sock.Close()
}

// glance is how long a connection is looked at where the only way to see whether
// something has come is to wait for it.
const glance = 100 * time.Microsecond

// silent looks whether anything has come on an idle connection: its end, or bytes that
// nobody asked for, which would be taken for the answer to the next request. It is for
// connections that are not driven; those that are find out when they are used, see
// [conn.untouched]. Nobody else may know of k.
func (k *conn) silent() bool {
	until, under := time.Now().Add(glance), k.under != nil && k.under.CanDrive()
	if under {
		until = past // for what TLS holds of what came with the last answer
	}
	_ = k.sock.SetReadDeadline(until) // the read says what is wrong
	_, err := k.sock.Read(k.one[:])
	_ = k.sock.SetReadDeadline(time.Time{}) // the next one does
	if !under || !errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	quiet := false
	err = k.under.Drive(func() bool {
		_, quiet, _ = k.under.Try(k.one[:])
		return true
	})
	return err == nil && quiet
}

// untouched is silent for a connection that is driven.
func (k *conn) untouched() bool {
	_, again, err := k.sock.Try(k.one[:])
	if again {
		return true
	}
	k.stale = true
	if err == nil {
		err = errSurplus
	}
	k.broke(err)
	return false
}

// exchange sends the request and reads the head of the answer. If it fails and may be
// tried over another connection, o is returned, otherwise it is released.
func (k *conn) exchange(t *Trip, r *Request, a *Answer, o *outgoing) (*outgoing, *Error) {
	k.trip, k.req, k.out = t, r, o
	k.sending, k.wrote, k.interim, k.werr, k.err = true, 0, 0, nil, nil
	k.head, _ = heads.Get().(*http1.Head)
	if k.driven {
		if err := k.sock.DriveFunc(k.onHead); err != nil {
			k.broke(err)
		}
	} else {
		k.plain()
	}
	if k.err != nil {
		return k.failed()
	}
	if k.up != nil {
		k.up.answered()
	}
	k.drop()
	k.answer(a) // it may be the last that is done with k
	return nil, nil
}

// failed ends an exchange without an answer.
func (k *conn) failed() (*outgoing, *Error) {
	err := k.err
	silent := k.in.Len() == 0 && k.interim == 0
	k.abort()
	if k.up != nil {
		k.wrote += k.up.stop()
		if e := k.up.fault(); e != nil {
			err = &Error{Kind: Body, Err: e}
		}
	}
	if !k.trip.detach() {
		err = &Error{Kind: Canceled, Err: k.trip.Cause()}
	}
	err.Sent = k.wrote > 0
	again := err.Kind == Broke && k.reused && silent && (k.wrote == 0 || k.req.Repeatable)
	o := k.out
	k.forget()
	if !again {
		o.release()
		o = nil
	}
	return o, err
}

// drop lets go of what was sent: it is not sent again.
func (k *conn) drop() {
	k.out.release()
	k.out = nil
}

// forget lets go of what belongs to the exchange.
func (k *conn) forget() {
	if k.head != nil {
		heads.Put(k.head)
	}
	k.trip, k.req, k.out, k.up, k.head, k.body, k.to = nil, nil, nil, nil, nil, nil, nil
	k.toErr, k.cause, k.err, k.werr = nil, nil, nil, nil
}

func (k *conn) broke(err error) {
	if k.err == nil {
		k.err = &Error{Kind: Broke, Err: err}
	}
}

// send sends the head, with the body if it is at hand, or begins to send the body.
func (k *conn) send(write func([]byte) (int, error)) {
	k.sending = false
	o := k.out
	k.wrote, k.werr = write(o.b)
	if k.werr != nil {
		return
	}
	if !o.whole() {
		k.upload(o)
	}
	if !k.reused || !k.req.Repeatable {
		k.drop()
	}
}

// stepHead is the exchange up to the head of the answer, driven.
func (k *conn) stepHead() bool {
	if k.sending {
		if k.reused && !k.untouched() {
			return true
		}
		// The poller was reset before: an answer that comes from now on is not missed.
		if k.send(k.sock.Write); k.werr == nil {
			return false
		}
	}
	for {
		space := k.in.Space(k.client.settings.MaxHead)
		if space == nil {
			k.err = &Error{Kind: TooLarge, Err: http1.ErrLarge}
			return true
		}
		n, again, err := k.sock.Try(space)
		switch {
		case again && k.werr != nil:
			k.broke(k.werr)
			return true
		case again:
			if k.in.Len() == 0 {
				k.in.Release()
			}
			return false
		case err != nil:
			k.ended(err)
			return true
		}
		k.in.Wrote(n)
		if k.parse() {
			return true
		}
	}
}

// plain is the exchange up to the head of the answer, on a connection that cannot be
// driven.
func (k *conn) plain() {
	k.send(k.sock.Conn.Write)
	for {
		space := k.in.Space(k.client.settings.MaxHead)
		if space == nil {
			k.err = &Error{Kind: TooLarge, Err: http1.ErrLarge}
			return
		}
		n, err := k.sock.Read(space)
		k.in.Wrote(n)
		if n > 0 && k.parse() {
			return
		}
		if err != nil {
			k.ended(err)
			return
		}
	}
}

// ended notes that reading ended before there was a head. What sending ended with says
// more, if it did.
func (k *conn) ended(err error) {
	if k.werr != nil {
		err = k.werr
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	k.broke(err)
}

// parse looks whether the head of the answer is there, and passes interim ones on. It
// reports whether there is no more to wait for.
func (k *conn) parse() bool {
	for {
		b := k.in.Bytes()
		n, err := k.scan.End(b)
		if err == nil && n == 0 {
			if !mayBeHTTP(b) {
				k.err = &Error{Kind: Malformed, Err: errNotHTTP}
			}
			return k.err != nil
		}
		k.head.Reset()
		if err == nil {
			err = k.head.ParseResponse(b[:n])
		}
		k.scan = http1.Scan{}
		if err != nil {
			k.err = &Error{Kind: Malformed, Err: err}
			return true
		}
		k.in.Take(n)
		if k.head.Status == http.StatusSwitchingProtocols && k.req.Upgrade == "" {
			k.err = &Error{Kind: Unasked, Err: errUnasked}
		}
		if k.head.Status >= 200 || k.head.Status == http.StatusSwitchingProtocols {
			return true
		}
		if k.inform(); k.err != nil {
			return true
		}
	}
}

// mayBeHTTP reports whether b begins as an answer does.
func mayBeHTTP(b []byte) bool {
	const begin = "HTTP/1."
	n := min(len(b), len(begin))
	return bytes.Equal(b[:n], []byte(begin)[:n])
}

// inform passes an interim answer on.
func (k *conn) inform() {
	if k.interim++; k.interim > maxInterim {
		k.err = &Error{Kind: Malformed, Err: errInterim}
		return
	}
	if k.up != nil {
		k.up.proceed()
	}
	if k.head.Status == http.StatusContinue || k.req.Inform == nil {
		return
	}
	if err := k.req.Inform(k.head.Status, k.head.Header); err != nil {
		k.err = &Error{Kind: Refused, Err: err}
	}
}
