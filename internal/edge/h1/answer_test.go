package h1

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestContinue proves that a client which waits for it is asked for its body once, when
// somebody wants it, and not after the answer has begun, whoever reads.
func TestContinue(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			switch r.RequestURI {
			case "/read":
				play(w, r)
			case "/interim":
				w.Header().Set("Link", "a")
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusContinue)
				_, _ = io.Copy(w, r.Body)
			case "/late":
				_, _ = io.WriteString(w, "early")
				_ = http.NewResponseController(w).Flush()
				_, _ = io.Copy(io.Discard, r.Body)
			case "/race":
				read := make(chan bool)
				go func() {
					defer close(read)
					_, _ = r.Body.Read(make([]byte, 1))
				}()
				_, _ = io.WriteString(w, "raced")
				_ = http.NewResponseController(w).Flush()
				_ = http.NewResponseController(w).SetReadDeadline(past)
				<-read
			}
		})
		const rest = " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
		t.Run("asked", func(t *testing.T) {
			c := s.dial()
			for range 2 {
				c.say("POST /interim" + rest)
				for _, want := range []int{103, 100} {
					resp, err := http.ReadResponse(c.br, nil)
					if err != nil || resp.StatusCode != want {
						t.Fatalf("got %v, %v, want %d", resp, err, want)
					}
				}
				c.say("ab")
				if a, more := c.hear("POST"); a.Body != "ab" || len(more) > 0 {
					t.Fatalf("got %+v, %v", a, more)
				}
			}
		})
		t.Run("too late", func(t *testing.T) {
			c := s.dial()
			c.say("POST /late" + rest + "ab")
			if a, interim := c.hear("POST"); a.Body != "early" || len(interim) > 0 {
				t.Fatalf("got %+v, %v", a, interim)
			}
		})
		t.Run("at the same time", func(t *testing.T) {
			for range 50 {
				c := s.dial()
				c.say("POST /race" + rest)
				all, err := io.ReadAll(c.br)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.TrimPrefix(string(all), proceed)
				if !strings.HasPrefix(text, "HTTP/1.1 200 OK\r\n") || strings.Count(text, "HTTP/1.1") != 1 {
					t.Fatalf("got %q", all)
				}
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
				if err != nil {
					t.Fatalf("got %q: %v", all, err)
				}
				_ = resp.Body.Close()
			}
		})
	})
}

// TestSmallHeads proves that a bound of heads which is less than that of trailers does
// not keep trailers from coming, and that they have a bound themselves.
func TestSmallHeads(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, "broken", http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, r.Trailer.Get("A"))
		}, func(c *Config) { c.MaxHead = 1 << 10 })
		for _, tt := range []struct{ size, status int }{{12 << 10, 200}, {17 << 10, 400}} {
			c := s.dial()
			value := strings.Repeat("x", tt.size)
			c.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: %s\r\n\r\n", value)
			if a, _ := c.hear("POST"); a.Status != tt.status || tt.status == 200 && a.Body != value {
				t.Errorf("%d bytes of trailers: got %d", tt.size, a.Status)
			}
		}
	})
}

// TestEarlyAnswer proves that an answer reaches a client which is still sending, in
// full, before the connection ends.
func TestEarlyAnswer(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, "too much")
		})
		for _, half := range []bool{false, true} {
			c := s.dial()
			c.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
			sent := make(chan bool)
			go func() {
				defer close(sent)
				piece := make([]byte, 64<<10)
				for range 16 {
					if _, err := c.Write(piece); err != nil {
						return
					}
				}
				if half {
					_ = c.raw.CloseWrite()
				}
			}()
			<-sent
			c.want("POST", http.StatusRequestEntityTooLarge, "too much")
		}
	})
}

// TestPanic proves that a panic ends one connection, is logged, and that the one of
// http.ErrAbortHandler is not.
func TestPanic(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(_ http.ResponseWriter, r *http.Request) {
			if r.RequestURI == "/abort" {
				panic(http.ErrAbortHandler)
			}
			panic("at the disco")
		})
		c := s.dial()
		c.say("GET /abort HTTP/1.1\r\nHost: a\r\n\r\n")
		c.wantEnd()
		if log := s.log.String(); log != "" {
			t.Errorf("an abort was logged: %s", log)
		}
		c = s.dial()
		c.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na")
		c.wantEnd()
		if log := s.log.String(); !strings.Contains(log, "at the disco") || !strings.Contains(log, "answer_test.go") {
			t.Errorf("the log does not say where: %s", log)
		}
	})
}
