package server

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// asked is a client that asks the same again and again, and allocates nothing.
type asked struct {
	*peer

	request []byte
	in      []byte
	id      uint32
}

func (s *served) asked() *asked {
	p := s.dial()
	a := &asked{peer: p, in: make([]byte, 64<<10), id: 1}
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}, {"content-length", "100"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: block.Bytes()})
	fr.WriteData(1, true, make([]byte, 100))
	fr.WriteWindowUpdate(0, 100)
	a.request = b.Bytes()
	return a
}

// ask sends the request on the next stream, and reads the answer.
func (a *asked) ask(t *testing.T) {
	for at := 0; at < len(a.request); {
		f := a.request[at:]
		if f[3] != frameWindowUpdate {
			f[5], f[6], f[7], f[8] = byte(a.id>>24), byte(a.id>>16), byte(a.id>>8), byte(a.id)
		}
		at += headSize + int(f[1])<<8 + int(f[2])
	}
	a.id += 2
	if _, err := a.conn.Write(a.request); err != nil {
		t.Fatal(err)
	}
	for have := 0; ; {
		n, err := a.conn.Read(a.in[have:])
		if err != nil {
			t.Fatal(err)
		}
		have += n
		at := 0
		for have-at >= headSize {
			f := a.in[at:have]
			size := headSize + int(f[1])<<8 + int(f[2])
			if len(f) < size {
				break
			}
			at += size
			if f[3] == frameData && f[4]&flagEndStream != 0 {
				return
			}
		}
		have = copy(a.in, a.in[at:have])
	}
}

func answering(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header()["Content-Type"] = plainText
	_, _ = w.Write(hello)
}

// What is answered, made once.
var (
	plainText = []string{"text/plain"}
	hello     = []byte("hello, world")
)

// TestAllocations proves that a request costs few allocations: strings of its head that
// are in no table, and nothing of ours.
func TestAllocations(t *testing.T) {
	s := serve(t, answering, func(c *Config) { c.Poison = false })
	a := s.asked()
	for range 200 {
		a.ask(t)
	}
	const n = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		a.ask(t)
	}
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / n
	t.Logf("%.2f allocations, %.0f bytes", got, float64(after.TotalAlloc-before.TotalAlloc)/n)
	if got > 4 && !raceEnabled {
		t.Errorf("%.2f allocations a request, want at most 4", got)
	}
}
