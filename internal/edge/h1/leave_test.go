package h1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClientLeaves proves that the context of a request ends when its client resets the
// connection, at once, or shuts its sending side, after the grace, by every way and
// also while the body has not come.
func TestClientLeaves(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		for _, tt := range []struct {
			name, send string
			reset      bool
			grace      time.Duration
		}{
			{"reset", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, time.Hour},
			{"reset within the body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na", true, time.Hour},
			{"half-close", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, short},
			{"half-close without grace", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, 0},
		} {
			t.Run(tt.name, func(t *testing.T) {
				begun, ended := make(chan bool), make(chan error, 1)
				s := serve(t, way, func(_ http.ResponseWriter, r *http.Request) {
					begun <- true
					<-r.Context().Done()
					ended <- r.Context().Err()
				}, func(c *Config) { c.Grace = tt.grace })
				c := s.dial()
				c.say("%s", tt.send)
				within(t, begun, "the request")
				if tt.reset {
					_ = c.raw.SetLinger(0)
					_ = c.raw.Close()
				} else {
					_ = c.raw.CloseWrite()
				}
				if err := within(t, ended, "the end of the context"); err == nil {
					t.Error("the context has ended without an error")
				}
			})
		}
	})
}

// TestHalfClose proves that a client which shuts its sending side gets what it asked
// for, also if the end came together with the requests; and that the connection ends
// then, though nothing else would end it.
func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, play)
		for range 20 {
			c := s.dial()
			c.say("GET /length?12345 HTTP/1.1\r\nHost: a\r\n\r\nPOST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
			if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				t.Fatal("cannot shut the sending side")
			}
			c.want("GET", 200, "12345")
			c.want("POST", 200, "not read")
			c.wantEnd()
		}
	})
}

// TestGraceIsOfOneRequest proves that the grace of one request does not end the next on
// the same connection, whose context may be the same.
func TestGraceIsOfOneRequest(t *testing.T) {
	s := New(Config{Context: t.Context(), Grace: time.Hour})
	end, other := net.Pipe()
	defer end.Close()
	defer other.Close()
	c := &conn{server: s, nc: end}
	c.left(false) // there is none under way
	first := c.newExchange()
	c.begin(first)
	c.mu.Lock()
	turn, fuse := c.turn, c.fuse
	c.mu.Unlock()
	if fuse == nil {
		t.Fatal("a request whose client has left has no grace")
	}
	c.stop(first)
	if fuse.Stop() {
		t.Error("the grace of a request that was answered goes on")
	}
	c.endTurn(turn)
	c.begin(first)
	c.endTurn(turn)
	if err := first.ctx.Err(); err != nil {
		t.Errorf("the next request was ended: %v", err)
	}
	c.endTurn(turn + 1)
	if first.ctx.Err() == nil {
		t.Error("a request was not ended by its own grace")
	}
	c.stop(first)
}

// TestLeaversDisturbNobody proves that the end of one client is not taken for that of
// another, whose request uses the same memory.
func TestLeaversDisturbNobody(t *testing.T) {
	s := serve(t, plain, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/leave" {
			return
		}
		for range 3 {
			if err := r.Context().Err(); err != nil {
				t.Errorf("a request whose client is there has ended: %v", err)
			}
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
		}
	}, func(c *Config) { c.Poison, c.Grace = false, 0 })
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if i%2 == 0 {
				for range 100 {
					c := s.dial()
					c.say("GET /leave HTTP/1.1\r\nHost: a\r\n\r\n")
					_ = c.raw.SetLinger(0)
					_ = c.raw.Close()
				}
				return
			}
			c := s.dial()
			for range 400 {
				c.say("GET /stay HTTP/1.1\r\nHost: a\r\n\r\n")
				c.want("GET", 200, "aaa")
			}
		})
	}
	all.Wait()
}

// TestNothingIsMissed proves that what comes while the connection is outside of the
// poller's sight is seen: the next request together with the end of a body that is
// read past the buffer.
func TestNothingIsMissed(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		read := make(chan bool, 1)
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			buf := make([]byte, 16<<10)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 && n < 5 {
					select {
					case read <- true:
					default:
					}
				}
				if err != nil {
					break
				}
			}
			_, _ = io.WriteString(w, "ok")
		})
		c := s.dial()
		for range 50 {
			c.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\nabc")
			within(t, read, "the first bytes of the body")
			c.say("%sGET / HTTP/1.1\r\nHost: a\r\n\r\n", strings.Repeat("x", 8997))
			c.want("POST", 200, "ok")
			c.want("GET", 200, "ok")
			select {
			case <-read:
			default:
			}
		}
	})
}
