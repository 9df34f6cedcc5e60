package h1

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// short is a limit that a test waits for.
const short = 40 * time.Millisecond

func limits(head, idle, write time.Duration) func(*Config) {
	return func(c *Config) { c.HeaderTimeout, c.Idle, c.WriteTimeout = head, idle, write }
}

// TestSlowHead proves that a head which does not come in time is refused, however it
// comes, and that the time does not begin anew with each byte.
func TestSlowHead(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, play, limits(short, 0, 0))
		for _, before := range []string{"", "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"} {
			c := s.dial()
			if before != "" {
				c.say("%s", before)
				if a, _ := c.hear("GET"); a.Status != 200 {
					t.Fatalf("got %+v", a)
				}
			}
			c.say("GET / HTTP/1.1\r\nHost: a\r\nB: ")
			refused := make(chan answered, 1)
			go func() {
				a, _ := c.hear("GET")
				refused <- a
			}()
			for waiting := true; waiting; {
				select {
				case a := <-refused:
					waiting = false
					if a.Status != http.StatusRequestTimeout {
						t.Fatalf("got %+v", a)
					}
				case <-time.After(short / 8):
					_, _ = io.WriteString(c, "b")
				}
			}
			c.wantEnd()
		}
	})
}

// TestSilence proves that a connection on which nothing comes is closed without a word:
// a new one, one that shakes no hands, and one that has served.
func TestSilence(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, play, limits(short, short, 0))
		dial(t, plain, s.addr).wantEnd()
		c := s.dial()
		c.say("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
		if a, _ := c.hear("GET"); a.Status != 200 {
			t.Fatalf("got %+v", a)
		}
		c.wantEnd()
	})
}

// TestNoLimit proves that a handler, and a body, may take longer than any limit, and
// that the connection serves on.
func TestNoLimit(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			<-time.After(4 * short)
			play(w, r)
		}, limits(short, 100*short, short))
		c := s.dial()
		for range 2 {
			c.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
			<-time.After(6 * short)
			c.say("b")
			if a, _ := c.hear("POST"); a.Status != 200 || !strings.Contains(a.Body, `"ab"`) {
				t.Fatalf("got %+v", a)
			}
		}
	})
}

// TestSlowReader proves that a write which the client does not take in time fails, and
// that the connection ends then.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		for _, framing := range []string{"HTTP/1.1", "HTTP/1.0"} {
			failed := make(chan error, 1)
			s := serve(t, way, func(w http.ResponseWriter, _ *http.Request) {
				piece := make([]byte, 256<<10)
				for {
					if _, err := w.Write(piece); err != nil {
						failed <- err
						return
					}
				}
			}, limits(0, 0, short))
			c := s.dial()
			c.say("GET / %s\r\nHost: a\r\n\r\n", framing)
			if err := within(t, failed, "a write that fails"); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if a, _ := c.hear("GET"); a.Status != 200 || a.Err == "" {
				t.Errorf("%s: the end of the answer cannot be told from a whole one: %d, %q", framing, a.Status, a.Err)
			}
		}
	})
}

// TestDeadlinesOfHandlers proves that a handler can end its reads and writes, and that
// the next request on the connection knows nothing of it.
func TestDeadlinesOfHandlers(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			ctl := http.NewResponseController(w)
			if r.RequestURI == "/once" {
				if err := errors.Join(ctl.SetReadDeadline(past), ctl.SetWriteDeadline(time.Now().Add(time.Hour)), ctl.EnableFullDuplex()); err != nil {
					t.Error(err)
				}
				if r.ContentLength > 0 {
					if _, err := r.Body.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("got %v", err)
					}
				}
			}
			play(w, r)
		})
		c := s.dial()
		for range 3 {
			c.say("GET /once HTTP/1.1\r\nHost: a\r\n\r\n")
			c.want("GET", 200, "")
			c.say("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
			c.want("POST", 200, "not read")
		}
		c.say("POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
		c.want("POST", 200, "")
		c.wantEnd() // its body did not come
	})
}
