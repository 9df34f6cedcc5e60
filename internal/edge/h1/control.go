package h1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// proceed is what tells a client to send its body.
const proceed = "HTTP/1.1 100 Continue\r\n\r\n"

// askOn tells a client that waits for it to send its body. It may be called by another
// goroutine than the handler's, which writes nothing meanwhile: see WriteHeader.
func (w *response) askOn() error {
	if w.asking.Load() != awaits {
		return nil
	}
	w.askMu.Lock()
	defer w.askMu.Unlock()
	if !w.asking.CompareAndSwap(awaits, asked) {
		return nil
	}
	return w.x.conn.write([]byte(proceed), nil)
}

// SetReadDeadline is that of the connection, until the request has been answered.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetReadDeadline)
}

// SetWriteDeadline is that of the connection, until the request has been answered.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetWriteDeadline)
}

func (w *response) setDeadline(t time.Time, set func(net.Conn, time.Time) error) error {
	if w.x == nil {
		return errGone
	}
	c := w.x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	w.moved = true
	if c.server.cutting.Load() {
		return nil
	}
	return set(c.nc, t)
}

// Peer is the address of the client's end of the connection, and as it is written.
func (w *response) Peer() (addr netip.Addr, text string) { return w.x.conn.peer, w.x.conn.addr }

// EnableFullDuplex does nothing: it is.
func (*response) EnableFullDuplex() error { return nil }

var errHijack = errors.New("h1: this connection cannot be taken over: the request asks for no upgrade, or has been answered")

// Hijack hands the connection over: what was read ahead lies in the reader. Only a
// request that asks for an upgrade has one to give, and nothing may have been answered.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.x == nil:
		return nil, nil, errGone
	case w.x.conn.stolen:
		return nil, nil, http.ErrHijacked
	case !w.x.head.Upgrade || w.status != 0:
		return nil, nil, errHijack
	}
	c := w.x.conn
	if !c.give() {
		return nil, nil, http.ErrServerClosed
	}
	w.done, w.err = true, http.ErrHijacked
	ahead := append([]byte(nil), c.in.Bytes()...)
	c.in.Release()
	r := bufio.NewReaderSize(&prefixed{Reader: c.bare, ahead: ahead}, max(len(ahead), 512))
	if len(ahead) > 0 {
		_, _ = r.Peek(len(ahead)) // it is there
	}
	return c.nc, bufio.NewReadWriter(r, bufio.NewWriterSize(c.nc, 1<<10)), nil
}

// give ends everything that the server does with the connection, unless it is cut.
func (c *conn) give() bool {
	c.part()
	c.mu.Lock()
	cutting := c.server.cutting.Load()
	if !cutting {
		_ = c.nc.SetDeadline(time.Time{}) // fails as what follows
	}
	c.mu.Unlock()
	if cutting {
		return false
	}
	c.stolen = true
	c.server.leave(c, http.StateHijacked)
	return true
}

// prefixed reads ahead before the rest.
type prefixed struct {
	io.Reader
	ahead []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.ahead) > 0 {
		n := copy(b, p.ahead)
		p.ahead = p.ahead[n:]
		return n, nil
	}
	return p.Reader.Read(b)
}
