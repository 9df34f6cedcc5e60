package h1

import (
	"errors"
	"io"
	"sync"
)

// A tunnel is a connection that speaks HTTP no more. One goroutine may read it while
// another writes; Close ends both.
type tunnel struct {
	conn *conn
	once sync.Once

	mu    sync.Mutex // held while what came with the head is read
	empty bool       // it was
}

// Read reads what the agent sends.
func (t *tunnel) Read(p []byte) (int, error) {
	if n := t.ahead(p); n > 0 {
		return n, nil
	}
	n, err := t.conn.sock.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &Error{Kind: Cut, Sent: true, Err: err}
	}
	return n, err
}

// ahead reads what came with the head.
func (t *tunnel) ahead(p []byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty {
		return 0
	}
	in := &t.conn.in
	n := copy(p, in.Bytes())
	in.Take(n)
	if in.Len() == 0 {
		t.empty = true
		in.Release()
	}
	return n
}

// Write sends to the agent.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.conn.sock.Conn.Write(p)
	if err != nil {
		err = &Error{Kind: Cut, Sent: true, Err: err}
	}
	return n, err
}

// CloseWrite tells the agent that nothing more is sent.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.conn.sock.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return t.Close()
}

// Close ends both directions.
func (t *tunnel) Close() error {
	t.once.Do(func() {
		k := t.conn
		_ = k.sock.Close() // whoever reads or writes learns of it
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.empty {
			t.empty = true
			k.in.Release()
		}
		if k.up != nil {
			k.up.stop()
		}
		k.trip.detach()
	})
	return nil
}
