package h1

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
)

// what a handler keeps though it should not.
type hoard struct {
	r      *http.Request
	header http.Header
	values []string
	url    *url.URL
	body   io.Reader
	w      http.ResponseWriter
	out    http.Header
	ctx    context.Context
	text   []string
}

// TestPoison proves that who keeps a request, or what belongs to it, finds it spoiled,
// that strings stay as they are, and that the context has ended.
func TestPoison(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		keep := make(chan *hoard, 1)
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("B", "c")
			_, _ = io.Copy(io.Discard, r.Body)
			keep <- &hoard{r, r.Header, r.Header["A"], r.URL, r.Body, w, w.Header(), r.Context(), []string{r.Method, r.RequestURI, r.Host, r.Header.Get("A")}}
		})
		c := s.dial()
		c.say("PATCH /path HTTP/1.1\r\nHost: host\r\nA: value\r\nContent-Length: 2\r\n\r\nab")
		c.want("PATCH", 200, "")
		k := <-keep
		<-k.ctx.Done() // it has been answered
		c.say("GET /other HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n")
		c.want("GET", 200, "")
		const junk = "kept after its exchange"
		for what, got := range map[string]string{
			"header": k.header.Get("A"), "values": k.values[0], "header of the request": k.r.Header.Get("Poison"), "path": k.url.Path,
			"method": k.r.Method, "host": k.r.Host, "target": k.r.RequestURI, "header of the answer": k.out.Get("Poison"),
		} {
			if got != junk {
				t.Errorf("%s: got %q", what, got)
			}
		}
		if n, err := k.body.Read(make([]byte, 1)); n > 0 || err == nil || err == io.EOF {
			t.Errorf("reading the body: got %d, %v", n, err)
		}
		if n, err := k.w.Write([]byte("x")); n > 0 || err == nil {
			t.Errorf("writing: got %d, %v", n, err)
		}
		k.w.WriteHeader(http.StatusOK)
		for _, err := range []error{http.NewResponseController(k.w).Flush(), http.NewResponseController(k.w).SetReadDeadline(past)} {
			if err == nil {
				t.Error("the writer of an exchange that is over does as it is told")
			}
		}
		if _, _, err := http.NewResponseController(k.w).Hijack(); err == nil {
			t.Error("the connection was given away after its exchange")
		}
		if got, want := fmt.Sprint(k.text), "[PATCH /path host value]"; got != want {
			t.Errorf("got strings %s, want %s", got, want)
		}
	})
}

type attached struct{ done chan struct{} }

func (a *attached) Canceled() { close(a.done) }

// TestContextIsKept proves that a context which somebody has looked at ends with its
// exchange, and does not serve another.
func TestContextIsKept(t *testing.T) {
	type key struct{}
	look := []func(context.Context) <-chan struct{}{
		func(c context.Context) <-chan struct{} { return c.Done() },
		func(c context.Context) <-chan struct{} {
			derived, cancel := context.WithCancel(context.WithValue(c, key{}, 1))
			context.AfterFunc(derived, cancel)
			return derived.Done()
		},
		func(c context.Context) <-chan struct{} {
			done := make(chan struct{})
			context.AfterFunc(c, func() { close(done) })
			return done
		},
		func(c context.Context) <-chan struct{} {
			a := &attached{done: make(chan struct{})}
			c.(interface {
				Attach(a interface{ Canceled() }) bool
			}).Attach(a)
			return a.done
		},
	}
	for i, f := range look {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			ends := make(chan (<-chan struct{}), 10)
			seen := map[context.Context]bool{}
			s := serve(t, plain, func(_ http.ResponseWriter, r *http.Request) {
				if ctx := r.Context(); ctx.Err() != nil || seen[ctx] {
					t.Error("a context that was kept serves again, or has ended before its time")
				}
				seen[r.Context()] = true
				ends <- f(r.Context())
			}, func(c *Config) {
				c.Poison = false
				c.Context = context.WithValue(context.Background(), key{}, 0)
			})
			c := s.dial()
			for range 10 {
				c.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				c.want("GET", 200, "")
				within(t, <-ends, "the end of a context")
			}
		})
	}
}

// bareServer is a server with small costs, for measuring.
func bareServer(t *testing.T, h http.HandlerFunc) *served {
	return serve(t, plain, h, func(c *Config) { c.Poison = false })
}

// TestAllocations proves what a request costs in this package: the text of its head,
// in which all of its strings lie.
func TestAllocations(t *testing.T) {
	length := []string{"2"}
	var b [64]byte // there is one request at a time
	s := bareServer(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := r.Body.Read(b[:]); err != nil {
				break
			}
		}
		w.Header()["Content-Length"] = length
		_, _ = w.Write(b[:2])
	})
	c := s.dial()
	request := []byte("POST /path HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n0123456789")
	answer := make([]byte, 1<<10)
	once := func() {
		if _, err := c.raw.Write(request); err != nil {
			t.Fatal(err)
		}
		n, err := c.raw.Read(answer)
		if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(answer[:n], []byte("\r\n\r\n01")) {
			t.Fatalf("got %q, %v", answer[:n], err)
		}
	}
	got := testing.AllocsPerRun(2000, once)
	t.Logf("%.2f allocations a request", got)
	if most := 1.0; got > most && !raceEnabled {
		t.Errorf("got %.2f allocations a request, want at most %.0f", got, most)
	}
}

// TestMemory proves that a connection which waits for its next request holds no buffer,
// and next to nothing of what served the last one.
func TestMemory(t *testing.T) {
	const n = 1000
	s := bareServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "12345")
	})
	measure := func() int64 {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := measure()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = s.dial()
		clients[i].br = nil
	}
	request := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000))
	for round := range 2 {
		for _, c := range clients {
			if _, err := c.raw.Write(request); err != nil {
				t.Fatal(err)
			}
			var b [256]byte
			for got := 0; !bytes.HasSuffix(b[:got], []byte("12345")); {
				k, err := c.raw.Read(b[got:])
				if err != nil {
					t.Fatal(err)
				}
				got += k
			}
		}
		each := (measure() - before) / n
		t.Logf("%d bytes of heap and stack for both ends of a connection that has served %d", each, round+1)
		if most := int64(8 << 10); each > most && !raceEnabled {
			t.Errorf("got %d bytes a connection, want at most %d", each, most)
		}
	}
}
