package pool

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A conn is an HTTP/1.1 connection to an agent, in the hands of [http.Transport].
// It corrects one thing there: a write that fails ends the exchange at once, even
// if the agent has answered already and that is why it took no more (a 413 in the
// middle of an upload). So a write that fails does not return before the
// connection is closed, which the reader of the answer sees to: at its end, or
// when it cannot read on either.
type conn struct {
	net.Conn
	written atomic.Int64          // bytes that went out
	failed  atomic.Pointer[error] // what reading ended with, if it was not us who closed
	user    atomic.Pointer[trip]  // who is to know when it is closed
	upgrade atomic.Bool           // it is HTTP no more: errors return at once

	closing sync.Once
	closed  chan struct{}
}

// A tlsConn is a conn under TLS. Transport asks for the state.
type tlsConn struct {
	*conn
	state tls.ConnectionState
}

// ConnectionState is that after the handshake.
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.state }

func newConn(c net.Conn) *conn { return &conn{Conn: c, closed: make(chan struct{})} }

// connOf finds the conn in what Transport calls its connection. Nil for HTTP/2.
func connOf(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *tlsConn:
		return c.conn
	}
	return nil
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	if err != nil && !c.upgrade.Load() {
		<-c.closed
	}
	return n, err
}

// uploads are buffers for request bodies of known length.
var uploads = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// ReadFrom writes what r gives, with a buffer of the pool where io.Copy would make
// one each time.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	buf := uploads.Get().(*[16 << 10]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer uploads.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, buf[:])
}

// CloseWrite ends the sending side, after an upgrade.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

// Close closes the connection and then lets go who waits for that: nothing they write
// gets out any more.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		close(c.closed)
		if t := c.user.Load(); t != nil {
			t.lost(c)
		}
	})
	return err
}

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}
