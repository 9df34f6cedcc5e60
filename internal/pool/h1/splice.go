package h1

import (
	"io"

	"github.com/airside-gateway/airside/internal/http1"
)

// spliced is how much of a body must be left for splicing to pay. Measured on loopback,
// 64 KiB cost the same either way, and 1 MiB two thirds to a half.
const spliced = 256 << 10

// A splicer is a writer that takes what never comes into the memory of the program.
type splicer interface {
	// CanSplice reports whether Splice works for what is left of the body.
	CanSplice() bool
	// Splice writes all that p holds.
	Splice(p *http1.Pipe) error
}

// splices has the rest of b spliced to w, if that pays and can be.
func (b *body) splices(w io.Writer) {
	k := b.conn
	if b.mode != sized || b.left < spliced || k.in.Len() > 0 {
		return
	}
	if to, ok := w.(splicer); ok && to.CanSplice() {
		k.splicer = to
	}
}

// stepSplice passes the body on, driven, past the memory of the program. Between the
// pieces it holds no pipe.
func (k *conn) stepSplice() bool {
	b := k.body
	p := k.client.openPipe()
	if p == nil {
		k.splicer = nil
		return k.stepBody()
	}
	defer k.client.closePipe(p)
	for b.left > 0 {
		n, again, err := k.sock.SpliceIn(p, int(min(b.left, spliced)))
		if again {
			b.waits()
			return false
		}
		b.heard()
		if err != nil {
			k.stop(err)
			return true
		}
		b.left -= int64(n)
		if err := k.splicer.Splice(p); err != nil {
			k.moved += int64(n - p.Len())
			k.toErr = err
			return true
		}
		k.moved += int64(n)
	}
	k.stop(nil)
	return true
}

// openPipe returns an empty pipe: the one that is kept, or a new one.
func (c *Client) openPipe() *http1.Pipe {
	if p := c.pipe.Swap(nil); p != nil {
		return p
	}
	return http1.OpenPipe()
}

// closePipe keeps p if it is empty and none is kept, and closes it otherwise.
func (c *Client) closePipe(p *http1.Pipe) {
	if p.Len() > 0 || !c.pipe.CompareAndSwap(nil, p) {
		p.Close()
	}
}
