package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// splice moves n bytes from one socket to another through the system, and returns what
// reading and writing ended with.
func splice(from, to *Socket, n int) (moved int, read, write error) {
	err := from.Drive(func() bool {
		p := OpenPipe()
		if p == nil {
			read = os.ErrInvalid
			return true
		}
		defer p.Close()
		for moved < n {
			m, again, err := from.SpliceIn(p, n-moved)
			if again {
				return false
			}
			if read = err; read != nil {
				return true
			}
			if write = to.SpliceOut(p); write != nil {
				moved += m - p.Len()
				return true
			}
			moved += m
		}
		return true
	})
	return moved, errors.Join(read, err), write
}

// Every byte arrives, in order, whatever the pipe holds and however slowly it is read;
// what comes after is left alone.
func TestSplice(t *testing.T) {
	for _, size := range []int{1, 1 << 10, 100 << 10, 3<<20 + 17} {
		agent, in := pair(t)
		client, out := pair(t)
		out.Conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
		whole := pattern(size)
		var group sync.WaitGroup
		group.Go(func() {
			_, _ = agent.Write(whole)
			_, _ = io.WriteString(agent, "rest")
		})
		group.Go(func() { drain(t, client, whole) })
		n, read, write := splice(in, out, size)
		if n != size || read != nil || write != nil {
			t.Errorf("%d bytes: got %d, %v, %v", size, n, read, write)
		}
		group.Wait()
		rest := make([]byte, 4)
		if _, err := io.ReadFull(in.Conn, rest); err != nil || string(rest) != "rest" {
			t.Errorf("%d bytes: behind them comes %q, %v", size, rest, err)
		}
	}
}

// An end that comes too early is one of the source, and what came before it has arrived.
func TestSpliceEndsEarly(t *testing.T) {
	agent, in := pair(t)
	client, out := pair(t)
	_, _ = agent.Write(pattern(1000))
	agent.CloseWrite()
	n, read, write := splice(in, out, 2000)
	if n != 1000 || !errors.Is(read, io.EOF) || write != nil {
		t.Errorf("got %d, %v, %v, want 1000 and the end", n, read, write)
	}
	drain(t, client, pattern(1000))
}

// A peer that does not read ends it at the write deadline, one that leaves at once.
func TestSpliceToNobody(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(client *net.TCPConn, out *Socket)
		want error
	}{
		{"does not read", func(_ *net.TCPConn, out *Socket) { out.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"leaves", func(client *net.TCPConn, _ *Socket) {
			client.SetLinger(0)
			client.Close()
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent, in := pair(t)
			client, out := pair(t)
			const size = 32 << 20
			go func() { _, _ = agent.Write(pattern(size)) }()
			c.end(client, out)
			n, read, write := splice(in, out, size)
			if read != nil || write == nil || n >= size || c.want != nil && !errors.Is(write, c.want) {
				t.Errorf("got %d, %v, %v, want an error of writing", n, read, write)
			}
		})
	}
}

// Outside of Drive nothing is read.
func TestSpliceRefuses(t *testing.T) {
	_, s := pair(t)
	p := OpenPipe()
	defer p.Close()
	if _, _, err := s.SpliceIn(p, 1); !errors.Is(err, errNotDriven) {
		t.Errorf("got %v", err)
	}
}

// A pipe that is closed holds no descriptor, whatever it held.
func TestPipeCloses(t *testing.T) {
	agent, in := pair(t)
	_, _ = agent.Write(pattern(100))
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := count()
	p := OpenPipe()
	if during := count(); during != before+2 {
		t.Errorf("a pipe has %d descriptors", during-before)
	}
	if err := in.Drive(func() bool {
		n, _, err := in.SpliceIn(p, 100)
		return n > 0 || err != nil
	}); err != nil || p.Len() != 100 {
		t.Errorf("the pipe holds %d bytes, %v", p.Len(), err)
	}
	p.Close()
	if after := count(); after != before {
		t.Errorf("%d descriptors are left", after-before)
	}
}
