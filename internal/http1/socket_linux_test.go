package http1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds what a test waits for that should come at once.
const patience = time.Minute

// pair returns the two ends of a TCP connection.
func pair(t testing.TB) (client *net.TCPConn, server *Socket) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		nc.Close()
	})
	c.SetDeadline(time.Now().Add(patience))
	nc.SetDeadline(time.Now().Add(patience))
	s := NewSocket(nc)
	if !s.CanDrive() {
		t.Fatal("TCP cannot be driven")
	}
	return c.(*net.TCPConn), s
}

func option(t *testing.T, c *net.TCPConn, name, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, name, value)
		}), err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An echo answers messages of four bytes of length and as many bytes of content with
// their lengths. It is what an engine is, without HTTP.
type echo struct {
	sock  *Socket
	buf   Buffer
	short bool // a Try that does not fill its room is the last before a wait
	sum   int
	err   error
}

func (e *echo) step() bool {
	for {
		for b := e.buf.Bytes(); len(b) >= 4; b = e.buf.Bytes() {
			n := int(binary.BigEndian.Uint32(b))
			if len(b) < 4+n {
				break
			}
			if _, e.err = e.sock.Write(b[:4]); e.err != nil {
				return true
			}
			e.sum += n
			e.buf.Take(4 + n)
		}
		space := e.buf.Space(1 << 20)
		n, again, err := e.sock.Try(space)
		switch {
		case again:
			return false
		case err != nil:
			e.err = err
			return true
		}
		e.buf.Wrote(n)
		if e.short && n < len(space) && e.complete() {
			return false
		}
	}
}

// complete reports whether no message is there that could be answered.
func (e *echo) complete() bool {
	b := e.buf.Bytes()
	return len(b) < 4 || len(b) < 4+int(binary.BigEndian.Uint32(b))
}

// No wake-up is lost, whether messages come one by one, many at once, or in pieces: a
// lost one would be waited for until the deadline.
func TestDriveLosesNothing(t *testing.T) {
	var group sync.WaitGroup
	for seed := range uint64(8) {
		c, s := pair(t)
		e := &echo{sock: s, short: seed%2 == 1}
		sent := make(chan int, 1)
		group.Go(func() {
			err := s.Drive(e.step)
			e.buf.Release()
			if want := <-sent; err != nil || e.err != io.EOF || e.sum != want {
				t.Errorf("server %d: got %d bytes, end %v, error %v, want %d bytes and the end", seed, e.sum, e.err, err, want)
			}
		})
		group.Go(func() {
			sum, err := talk(c, rand.New(rand.NewPCG(seed, seed)))
			if err != nil {
				t.Errorf("client %d: %v after %d bytes", seed, err, sum)
			}
			sent <- sum
			c.Close()
		})
	}
	group.Wait()
}

// talk sends messages, in bursts and in pieces, and waits for the answers to each burst.
func talk(c *net.TCPConn, r *rand.Rand) (sum int, err error) {
	for range 1500 {
		var out, want []byte
		for range 1 + r.IntN(3) {
			n := r.IntN(300)
			if r.IntN(50) == 0 {
				n = r.IntN(100 << 10)
			}
			sum += n
			want = binary.BigEndian.AppendUint32(want, uint32(n))
			out = append(binary.BigEndian.AppendUint32(out, uint32(n)), make([]byte, n)...)
		}
		for len(out) > 0 {
			n := len(out)
			if r.IntN(2) == 0 {
				n = 1 + r.IntN(n)
			}
			if _, err := c.Write(out[:n]); err != nil {
				return sum, err
			}
			out = out[n:]
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			return sum, err
		}
		if !bytes.Equal(got, want) {
			return sum, errors.New("a wrong answer")
		}
	}
	return sum, nil
}

// What came before Drive, and between two of them, is found by the first step.
func TestDriveFindsWhatWasThere(t *testing.T) {
	c, s := pair(t)
	var p [10]byte
	f := s.Step(func() bool {
		n, again, err := s.Try(p[:])
		if err != nil || n > 0 && string(p[:n]) != "hello" {
			t.Errorf("got %q, %v", p[:n], err)
		}
		return !again
	})
	for range 100 {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := s.DriveFunc(f); err != nil {
			t.Fatal(err)
		}
	}
}

// The end is told by a Try after that which took the last bytes, also where both come
// in one segment: then nothing else tells it.
func TestEndTogetherWithBytes(t *testing.T) {
	c, s := pair(t)
	option(t, c, syscall.TCP_CORK, 1)
	var p [10]byte
	var got []byte
	waiting, end := make(chan struct{}), error(nil)
	var once sync.Once
	go func() {
		<-waiting
		c.Write([]byte("bye"))
		c.CloseWrite()
	}()
	err := s.Drive(func() bool {
		for {
			n, again, err := s.Try(p[:])
			if again {
				once.Do(func() { close(waiting) })
				return false
			}
			if err != nil {
				end = err
				return true
			}
			got = append(got, p[:n]...)
		}
	})
	if err != nil || end != io.EOF || string(got) != "bye" {
		t.Errorf("got %q, end %v, error %v, want %q and the end", got, end, err, "bye")
	}
}

// drain reads n bytes of c and proves that they are those of want.
func drain(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, error %v, want %d bytes", n, err, len(want))
	}
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	return p
}

// More than the system takes at once is written whole, in order, by Write and Writev,
// inside of Drive and outside.
func TestWritesInParts(t *testing.T) {
	big, small := pattern(2<<20), pattern(100)
	for _, c := range []struct {
		name string
		a, b []byte
	}{
		{"one", big, nil},
		{"other", nil, big},
		{"nothing", nil, nil},
		{"small", small, small},
		{"ends in the first", big, small},
		{"ends in the second", small, big},
		{"both", big, big},
	} {
		for _, inside := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				client, s := pair(t)
				s.Conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
				var group sync.WaitGroup
				group.Go(func() { drain(t, client, append(append(bytes.Clone(c.a), c.b...), "end"...)) })
				write := func() bool {
					if n, err := s.Writev(c.a, c.b); n != len(c.a)+len(c.b) || err != nil {
						t.Errorf("Writev: got %d, %v", n, err)
					}
					if n, err := s.Write([]byte("end")); n != 3 || err != nil {
						t.Errorf("Write: got %d, %v", n, err)
					}
					if n, err := s.Write(nil); n != 0 || err != nil {
						t.Errorf("Write of nothing: got %d, %v", n, err)
					}
					return true
				}
				if inside {
					if err := s.Drive(write); err != nil {
						t.Error(err)
					}
				} else {
					write()
				}
				group.Wait()
			})
		}
	}
}

// A peer that does not read ends a write at its deadline, inside of Drive too, and what
// was written is told.
func TestWriteDeadline(t *testing.T) {
	big := pattern(16 << 20)
	for _, write := range []func(s *Socket) (int, error){
		func(s *Socket) (int, error) { return s.Write(big) },
		func(s *Socket) (int, error) { return s.Writev(big, big) },
		func(s *Socket) (int, error) { return s.Writev(big[:10], big) },
	} {
		client, s := pair(t)
		s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		var n int
		var got error
		if err := s.Drive(func() bool { n, got = write(s); return true }); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got, os.ErrDeadlineExceeded) || n == 0 || n >= len(big) {
			t.Errorf("got %d bytes, error %v, want some and the deadline", n, got)
		}
		s.Close()
		if all, err := io.Copy(io.Discard, client); err != nil || all != int64(n) {
			t.Errorf("the client got %d bytes, error %v, want %d", all, err, n)
		}
	}
}

// The read deadline ends a wait, also if it is set while it lasts; a later Drive with a
// later deadline works.
func TestReadDeadline(t *testing.T) {
	c, s := pair(t)
	var p [1]byte
	wait := func() bool {
		_, again, _ := s.Try(p[:])
		return !again
	}
	s.SetReadDeadline(time.Now().Add(-time.Second))
	if err := s.Drive(wait); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("passed: got %v", err)
	}
	s.SetReadDeadline(time.Now().Add(patience))
	waiting := make(chan struct{})
	go func() {
		<-waiting
		s.SetReadDeadline(time.Now())
	}()
	err := s.Drive(func() bool {
		done := wait()
		close(waiting)
		return done
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("set while waiting: got %v", err)
	}
	s.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Drive(wait); err != nil || p[0] != 'x' {
		t.Errorf("afterwards: got %q, %v", p, err)
	}
}

// Another goroutine may close: a wait ends at once, and while step runs, Close waits
// for it, so that nothing is written to a descriptor that is somebody else's by then.
func TestCloseWhileDriven(t *testing.T) {
	t.Run("waiting", func(t *testing.T) {
		_, s := pair(t)
		waiting := make(chan struct{})
		closed := make(chan error, 1)
		go func() {
			<-waiting
			closed <- s.Close()
		}()
		err := s.Drive(func() bool { close(waiting); return false })
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want %v", err, net.ErrClosed)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Drive(func() bool { t.Error("step was called"); return true }); !errors.Is(err, net.ErrClosed) {
			t.Errorf("afterwards: got %v, want %v", err, net.ErrClosed)
		}
	})
	t.Run("running", func(t *testing.T) {
		c, s := pair(t)
		closed := make(chan error, 1)
		err := s.Drive(func() bool {
			go func() { closed <- s.Close() }()
			for {
				// Close has begun once the connection refuses to be used as such; the
				// descriptor is there for us still.
				if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
					break
				}
			}
			select {
			case err := <-closed:
				t.Errorf("Close has returned (%v) before step", err)
			default:
			}
			if n, err := s.Write([]byte("last")); n != 4 || err != nil {
				t.Errorf("Write: got %d, %v", n, err)
			}
			return true
		})
		if err != nil {
			t.Errorf("Drive: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		drain(t, c, []byte("last"))
	})
}

// A reset by the peer is an error of Try and of Write, not the end.
func TestResetByPeer(t *testing.T) {
	c, s := pair(t)
	waiting := make(chan struct{})
	go func() {
		<-waiting
		c.SetLinger(0)
		c.Close()
	}()
	var got error
	steps := 0
	err := s.Drive(func() bool {
		if steps++; steps == 1 {
			close(waiting)
			return false
		}
		_, again, err := s.Try(make([]byte, 1))
		got = err
		return !again
	})
	if err != nil || !errors.Is(got, syscall.ECONNRESET) {
		t.Errorf("got %v, %v, want a reset", got, err)
	}
	for _, write := range []func() (int, error){
		func() (int, error) { return s.Write([]byte("x")) },
		func() (int, error) { return s.Writev([]byte("x"), []byte("y")) },
	} {
		err = s.Drive(func() bool {
			n, err := write()
			if n != 0 || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a write: got %d, %v", n, err)
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Without room, and outside of Drive, Try says so.
func TestTryRefuses(t *testing.T) {
	_, s := pair(t)
	if _, again, err := s.Try(make([]byte, 1)); again || err != errNotDriven {
		t.Errorf("outside: got %t, %v", again, err)
	}
	err := s.Drive(func() bool {
		if _, again, err := s.Try(nil); again || err != io.ErrShortBuffer {
			t.Errorf("without room: got %t, %v", again, err)
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

// A step that panics leaves a socket that does not write past net.Conn any more.
func TestStepPanics(t *testing.T) {
	_, s := pair(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.Drive(func() bool { panic("step") })
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// A whole exchange inside of Drive allocates nothing.
func TestDriveAllocates(t *testing.T) {
	c, s := pair(t)
	var in, out [5]byte
	hello := []byte("hello")
	f := s.Step(func() bool {
		n, again, _ := s.Try(in[:])
		if again {
			return false
		}
		_, _ = s.Writev(in[:1], in[1:n]) // the client reads it
		return true
	})
	got := testing.AllocsPerRun(100, func() {
		c.Write(hello)
		if err := s.DriveFunc(f); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, out[:]); err != nil || string(out[:]) != "hello" {
			t.Errorf("got %q, %v", out, err)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
