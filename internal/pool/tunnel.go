package pool

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// switched makes resp, a 101, ready: its body becomes the connection. Wants is what
// the client asked for.
func (t *try) switched(resp *http.Response, wants string) error {
	conn, ok := resp.Body.(io.ReadWriteCloser)
	got := resp.Header.Get("Upgrade")
	if !ok || got == "" || !offered(wants, got) {
		return t.blame(&failure{kind: unasked, sent: true})
	}
	t.headed(resp)
	strip(resp.Header)
	delete(resp.Header, "Content-Length")
	resp.Header.Set("Connection", "Upgrade")
	resp.Header.Set("Upgrade", got)
	b := &tunnel{try: t, conn: conn}
	t.watch.upgraded()
	if t.ctx != nil {
		b.stop = context.AfterFunc(t.ctx, b.shut)
	}
	t.watch.touch()
	resp.Body = b
	return nil
}

// offered reports whether got is among the protocols of wants, RFC 9110 section
// 7.8.
func offered(wants, got string) bool {
	for p := range strings.SplitSeq(wants, ",") {
		if strings.EqualFold(strings.TrimSpace(p), strings.TrimSpace(got)) {
			return true
		}
	}
	return false
}

// A tunnel is a connection that speaks HTTP no more. One goroutine may read it while
// another writes; Close ends both.
type tunnel struct {
	try    *try
	conn   io.ReadWriteCloser
	stop   func() bool // nil: the engine ends it by itself
	closed atomic.Bool
	once   sync.Once
}

// Read reads what the agent sends. Its errors are io.EOF or an [airside.Error].
func (b *tunnel) Read(p []byte) (int, error) {
	n, err := b.conn.Read(p)
	b.try.watch.touch()
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case b.closed.Load():
		return n, io.EOF
	}
	return n, b.try.broken(err)
}

// Write sends to the agent.
func (b *tunnel) Write(p []byte) (int, error) {
	n, err := b.conn.Write(p)
	b.try.watch.touch()
	if err != nil {
		return n, b.try.broken(err)
	}
	return n, nil
}

// CloseWrite tells the agent that nothing more is sent.
func (b *tunnel) CloseWrite() error {
	if c, ok := b.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close ends both directions.
func (b *tunnel) Close() error {
	b.closed.Store(true)
	if b.stop != nil {
		b.stop()
	}
	b.shut()
	b.try.end()
	return nil
}

func (b *tunnel) shut() {
	b.once.Do(func() { _ = b.conn.Close() }) // there is nobody to tell
}
