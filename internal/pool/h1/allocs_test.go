//go:build !race

package h1

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// These do not hold with the race detector, under which a [sync.Pool] forgets at random.

// TestAllocations proves what an exchange allocates: the answer, and the string that
// all of its head lies in.
func TestAllocations(t *testing.T) {
	l := newLoader(t)
	l.exchange(t)
	if got := testing.AllocsPerRun(200, func() { l.exchange(t) }); got > 2.5 {
		t.Errorf("got %.1f allocations per exchange, want 2", got)
	}
}

// TestAllocationsOfChunks proves that passing on a chunk allocates nothing.
func TestAllocationsOfChunks(t *testing.T) {
	const chunks = 2000
	more := make(chan struct{})
	c := open(t, agent(t, func(c *net.TCPConn) {
		says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")(c)
		piece := []byte("400\r\n" + strings.Repeat("x", 1<<10) + "\r\n")
		for range chunks {
			if _, err := c.Write(piece); err != nil {
				return
			}
			<-more
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	}), ways[0].wrap, func(s *Settings) { s.Poison = false })
	a := &Answer{}
	if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
		t.Fatal(err)
	}
	n := 0
	out := writer(func(p []byte) (int, error) {
		if n += len(p); n%(1<<10) == 0 {
			more <- struct{}{}
		}
		return len(p), nil
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := a.Body.(io.WriterTo).WriteTo(out)
	runtime.ReadMemStats(&after)
	_ = a.Body.Close()
	if err != nil || n != chunks<<10 {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if got := after.Mallocs - before.Mallocs; got > chunks/10 {
		t.Errorf("got %d allocations for %d chunks", got, chunks)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
