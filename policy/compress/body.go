package compress

import (
	"compress/gzip"
	"errors"
	"io"
	"sync"

	"github.com/airside-gateway/airside"
)

// readSize is how much is read of an answer at a time.
const readSize = 16 << 10

var errClosed = errors.New("compress: the body was closed")

// A packer compresses from in to out. It is used again for another answer.
type packer struct {
	gzip *gzip.Writer // writes to out
	err  error        // of making it
	in   []byte
	out  []byte
	sent int // of out
}

// Write makes a packer what its gzip writes to.
func (k *packer) Write(b []byte) (int, error) {
	k.out = append(k.out, b...)
	return len(b), nil
}

// A body is compressed as it is read, in step with the reader: a Read reads from
// the source once, and gives what comes of it.
type body struct {
	src       io.ReadCloser
	policy    *policy
	announced int64 // bytes that src should have; negative: unknown

	k    *packer // nil before the first Read, and after the last
	read int64
	err  error // what the body ends with once all was sent

	mu     sync.Mutex // guards what follows
	busy   bool       // is being read
	closed bool
	left   bool // the place was given back
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, errClosed
	}
	b.busy = true
	b.mu.Unlock()
	n, err := b.next(p)
	b.mu.Lock()
	b.busy = false
	if b.closed || errors.Is(err, io.EOF) {
		b.leave()
	}
	b.mu.Unlock()
	return n, err
}

// next gives what is compressed, and compresses more where there is none.
func (b *body) next(p []byte) (int, error) {
	if b.left { // only a Read that is the body's end sets it, or Close
		return 0, b.err
	}
	if b.k == nil {
		b.k = b.policy.packer()
		b.k.gzip.Reset(b.k)
	}
	k := b.k
	for k.sent == len(k.out) {
		if b.err != nil || len(p) == 0 {
			return 0, b.err
		}
		k.out, k.sent = k.out[:0], 0
		b.err = b.pack()
	}
	n := copy(p, k.out[k.sent:])
	k.sent += n
	return n, nil
}

// pack reads once and compresses that. It returns what the source ended with.
//
// It flushes whatever came: whether more is on its way, or the agent thinks, cannot
// be known before the next read, and that may take its time. The end of the
// compressed data is written for a whole answer only.
func (b *body) pack() error {
	n, err := b.src.Read(b.k.in)
	b.read += int64(n)
	if n > 0 {
		_, _ = b.k.gzip.Write(b.k.in[:n]) // to memory
	}
	if err == io.EOF { //nolint:errorlint // a broken source may wrap it
		if b.announced < 0 || b.announced == b.read {
			_ = b.k.gzip.Close() // to memory
			return io.EOF
		}
		err = airside.Errorf(airside.UpstreamFailed, "the agent's answer broke off").Because(io.ErrUnexpectedEOF)
	}
	if n > 0 {
		_ = b.k.gzip.Flush() // to memory
	}
	return err
}

// seal returns the rest of a body that failed, with words for it and an end.
func (b *body) seal(words []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.busy || b.left || b.k == nil {
		return nil
	}
	_, _ = b.k.gzip.Write(words) // to memory
	_ = b.k.gzip.Close()
	rest := append([]byte(nil), b.k.out[b.k.sent:]...)
	b.err = errClosed
	b.leave()
	return rest
}

// Close closes the source, and makes room for another answer: now or, if a Read is
// under way, when that returns.
func (b *body) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	if !b.busy {
		b.leave()
	}
	b.mu.Unlock()
	return b.src.Close()
}

// leave gives back the packer and the place, once. It is called with mu held.
func (b *body) leave() {
	if b.left {
		return
	}
	b.left = true
	if b.k != nil {
		b.k.out, b.k.sent = b.k.out[:0], 0
		b.policy.packers.Put(b.k)
		b.k = nil
	}
	b.policy.busy.Add(-1)
}
