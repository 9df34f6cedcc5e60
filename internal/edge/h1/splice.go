package h1

import (
	"errors"
	"net/http"
	"os"

	"github.com/airside-gateway/airside/internal/http1"
)

// CanSplice reports whether what is left of the body can be spliced: the connection is
// plain TCP, and the head has announced how long the body is.
func (w *response) CanSplice() bool {
	return w.x != nil && !w.done && w.err == nil && w.sized && w.bodied && !w.coded && w.x.conn.sock.CanDrive()
}

var errNoSplice = errors.New("h1: the answer cannot be spliced")

// Splice sends what was gathered, and all that p holds behind it, as a piece of the body.
func (w *response) Splice(p *http1.Pipe) error {
	switch {
	case !w.CanSplice():
		if w.x == nil || w.done || w.err != nil {
			return w.gone()
		}
		return errNoSplice
	case int64(p.Len()) > w.left:
		return http.ErrContentLength
	}
	if err := w.flush(); err != nil {
		return err
	}
	n := p.Len()
	w.err = w.x.conn.splice(p)
	w.left -= int64(n - p.Len())
	return w.err
}

// splice is write with what p holds.
func (c *conn) splice(p *http1.Pipe) error {
	c.writeBy.Store(c.server.clock.After(c.server.WriteTimeout, c.server.tick))
	err := c.sock.SpliceOut(p)
	if c.writeBy.Swap(0) == expired && err == nil {
		return os.ErrDeadlineExceeded
	}
	return err
}
