package h1

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/airside-gateway/airside/internal/http1"
)

// drainable is how much of an answer that nobody wants is read, if it is there, so that
// its connection can be used again.
const drainable = 64 << 10

// maxFrame bounds what is held of a body: a size line, or trailers.
const maxFrame = 2 * http1.MaxTrailers

// A mode says how the end of a body is found, RFC 9112 section 6.3.
type mode uint8

const (
	empty mode = iota
	sized
	chunked
	untilClose
)

// A body is that of an answer, as it is read.
type body struct {
	conn   *conn // nil when it has ended
	resp   *http.Response
	head   *http1.Head // see Answer.Recycle
	watch  Watch       // or nil
	mode   mode
	left   int64 // of a sized body
	chunks http1.Chunks
	data   int   // so much of what is at hand is data of a chunk
	err    error // how it ended

	closes  bool // the agent closes the connection
	closed  bool
	poisons bool
}

// next takes what is at hand: a piece of at most n bytes, which is valid until the next
// call. It reports whether the body is complete.
func (b *body) next(n int) (piece []byte, complete bool, err error) {
	in := &b.conn.in
	switch b.mode {
	case sized:
		n = int(min(b.left, int64(in.Len()), int64(n)))
		b.left -= int64(n)
		piece = in.Bytes()[:n]
		in.Take(n)
		return piece, b.left == 0, nil
	case chunked:
		return b.chunk(n)
	case untilClose:
		n = min(in.Len(), n)
		piece = in.Bytes()[:n]
		in.Take(n)
		return piece, false, nil
	case empty:
	}
	return nil, true, nil
}

// chunk is next for a chunked body. It looks ahead, so that the last piece says so.
func (b *body) chunk(n int) (piece []byte, complete bool, err error) {
	if err := b.frame(); err != nil {
		return nil, false, err
	}
	in := &b.conn.in
	n = min(n, b.data)
	piece = in.Bytes()[:n]
	in.Take(n)
	b.data -= n
	err = b.frame()
	return piece, b.chunks.Done, err
}

// frame takes the framing before the next data of a chunk, as far as it is at hand.
func (b *body) frame() error {
	in := &b.conn.in
	for b.data == 0 && !b.chunks.Done && in.Len() > 0 {
		data, n, err := b.chunks.Next(in.Bytes())
		in.Take(n - len(data))
		b.data = len(data)
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// Buffered is how much can be read without waiting.
func (b *body) Buffered() int {
	if b.err != nil {
		return 0
	}
	switch n := b.conn.in.Len(); b.mode {
	case sized:
		return int(min(b.left, int64(n)))
	case untilClose:
		return n
	case chunked:
		_ = b.frame() // what is wrong is found again when it is read
		return b.data
	case empty:
	}
	return 0
}

// Read reads what the agent sends.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	for {
		piece, complete, err := b.next(len(p))
		n := copy(p, piece)
		switch {
		case err != nil:
			b.finish(err)
		case complete:
			b.finish(nil)
		}
		if n > 0 || b.err != nil {
			if b.conn != nil && b.conn.in.Len() == 0 {
				b.conn.in.Release()
			}
			return n, b.err
		}
		if b.mode != chunked && len(p) >= http1.BufferSize {
			return b.direct(p)
		}
		if err := b.fill(); err != nil {
			b.finish(err)
			return 0, b.err
		}
	}
}

// fill waits for more.
func (b *body) fill() error {
	in := &b.conn.in
	space := in.Space(maxFrame)
	if space == nil {
		return http1.ErrLarge
	}
	n, err := b.read(space)
	in.Wrote(n)
	if n > 0 {
		return nil
	}
	return err
}

// direct reads into p, without a buffer between.
func (b *body) direct(p []byte) (int, error) {
	if b.mode == sized {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.read(p)
	if b.mode == sized {
		b.left -= int64(n)
		if b.left == 0 {
			b.finish(nil)
			return n, b.err
		}
	}
	if err != nil {
		b.finish(err)
	}
	return n, b.err
}

func (b *body) read(p []byte) (int, error) {
	if b.watch == nil {
		return b.conn.sock.Read(p)
	}
	b.watch.Waits()
	n, err := b.conn.sock.Read(p)
	b.watch.Heard()
	return n, err
}

// finish ends the body: cause is nil if it is complete, and otherwise what reading
// ended with. The connection is kept if it can be used again.
func (b *body) finish(cause error) {
	if b.err != nil {
		return
	}
	complete := cause == nil
	if b.mode == untilClose && errors.Is(cause, io.EOF) {
		complete = true
	}
	if complete {
		b.err = io.EOF
		b.trailers()
	} else {
		if errors.Is(cause, io.EOF) {
			cause = io.ErrUnexpectedEOF
		}
		b.err = &Error{Kind: Cut, Sent: true, Err: cause}
	}
	k := b.conn
	b.conn = nil
	k.leave(complete && b.mode != untilClose && !b.closes)
}

func (b *body) trailers() {
	if len(b.chunks.Trailer) == 0 {
		return
	}
	if b.resp.Trailer == nil {
		b.resp.Trailer = b.chunks.Trailer
		return
	}
	maps.Copy(b.resp.Trailer, b.chunks.Trailer)
}

// leave ends the exchange on k, which is kept if it is clean.
func (k *conn) leave(clean bool) {
	if clean && k.up != nil {
		clean = k.up.complete()
	}
	clean = k.trip.detach() && clean && k.in.Len() == 0
	if !clean {
		k.abort()
		if k.up != nil {
			k.up.stop()
		}
		k.forget()
		return
	}
	k.in.Release()
	k.forget()
	k.client.idle.put(k)
}

// WriteTo writes what the agent sends to w, as it comes. An [Error] is the agent's, any
// other is that of w. While nothing comes no memory is held.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.err != nil {
		return 0, ended(b.err)
	}
	k := b.conn
	k.to, k.moved, k.toErr, k.over, k.quiet = w, 0, nil, false, false
	switch {
	case b.pass():
	case k.driven:
		b.splices(w)
		if k.onBody == nil {
			k.onBody = k.sock.Step(k.stepBody)
		}
		if err := k.sock.DriveFunc(k.onBody); err != nil {
			b.heard()
			k.stop(err)
		}
	default:
		b.relay()
	}
	n, err := k.moved, k.toErr
	k.to, k.toErr, k.splicer = nil, nil, nil
	if k.over {
		b.finish(k.cause)
	}
	if err != nil {
		return n, err
	}
	return n, ended(b.err)
}

// stop notes how the body ended. What follows from it has to wait: while the socket is
// driven it cannot be closed, and nobody else may have it.
func (k *conn) stop(cause error) { k.over, k.cause = true, cause }

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// pass writes what is at hand, and reports whether there is nothing more to do.
func (b *body) pass() bool {
	k := b.conn
	for {
		piece, complete, err := b.next(http1.BufferSize)
		if len(piece) > 0 {
			n, werr := k.to.Write(piece)
			k.moved += int64(n)
			if werr == nil && n < len(piece) {
				werr = io.ErrShortWrite
			}
			if b.poisons {
				clear(piece)
			}
			if werr != nil {
				k.toErr = werr
				return true
			}
		}
		switch {
		case err != nil:
			k.stop(err)
			return true
		case complete:
			k.stop(nil)
			return true
		case len(piece) == 0:
			return false
		}
	}
}

// stepBody passes the body on, driven.
func (k *conn) stepBody() bool {
	if k.splicer != nil {
		return k.stepSplice()
	}
	b := k.body
	for {
		space := k.in.Space(maxFrame)
		if space == nil {
			k.stop(http1.ErrLarge)
			return true
		}
		n, again, err := k.sock.Try(space)
		if again {
			if k.in.Len() == 0 {
				k.in.Release()
			}
			b.waits()
			return false
		}
		b.heard()
		if err != nil {
			k.stop(err)
			return true
		}
		k.in.Wrote(n)
		if b.pass() {
			return true
		}
		if n == len(space) {
			k.in.Enlarge() // there is more than the buffer holds
		}
	}
}

func (b *body) waits() {
	if k := b.conn; b.watch != nil && !k.quiet {
		k.quiet = true
		b.watch.Waits()
	}
}

func (b *body) heard() {
	if k := b.conn; b.watch != nil && k.quiet {
		k.quiet = false
		b.watch.Heard()
	}
}

// relay passes the body on from a connection that cannot be driven.
func (b *body) relay() {
	k := b.conn
	for {
		if err := b.fill(); err != nil {
			k.stop(err)
			return
		}
		if b.pass() {
			return
		}
		if k.in.Len() == 0 {
			k.in.Release()
		}
	}
}

// Close gives up what has not been read. If that is short and at hand, the connection
// is kept.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.err == nil && !b.drain() {
		b.finish(errOver)
	}
	return nil
}

// drain reads what is left if it is at hand, and reports whether that was all.
func (b *body) drain() bool {
	k := b.conn
	if b.mode == untilClose || b.mode == sized && b.left > drainable {
		return false
	}
	k.to, k.moved, k.toErr, k.over = io.Discard, 0, nil, false
	if !b.pass() && k.driven {
		_ = k.sock.Drive(func() bool { return k.stepDrain() }) // if it fails, the connection is closed
	}
	k.to = nil
	over := k.over
	if over {
		b.finish(k.cause) // from now on somebody else may have k
	}
	return over
}

// stepDrain takes what is there and waits for nothing.
func (k *conn) stepDrain() bool {
	for !k.over && k.moved < drainable {
		space := k.in.Space(maxFrame)
		if space == nil {
			break
		}
		n, again, err := k.sock.Try(space)
		if again || err != nil {
			break
		}
		k.in.Wrote(n)
		k.body.pass()
	}
	return true
}
