package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A stage is the point of an answer at which an agent dies.
type stage struct {
	name  string
	began bool   // a byte of the answer has come by then
	sse   bool   // it is an event stream
	h1    string // what the agent sends over HTTP/1.1
	h2    func(f *http2.Framer, stream uint32)
}

// headers writes the head of an answer over HTTP/2, whole or not.
func headers(f *http2.Framer, stream uint32, kind string, whole bool) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, h := range []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: kind}} {
		if err := e.WriteField(h); err != nil {
			panic(err)
		}
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: whole})
}

const (
	plainText = "text/plain"
	events    = "text/event-stream"
)

var stages = []stage{
	{name: "byte 0", h2: func(*http2.Framer, uint32) {}},
	{name: "mid-head", h1: "HTTP/1.1 200 OK\r\nContent-Le", h2: func(f *http2.Framer, s uint32) { headers(f, s, plainText, false) }},
	{name: "after the head", h1: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", h2: func(f *http2.Framer, s uint32) { headers(f, s, plainText, true) }},
	{name: "head of a stream", sse: true, h1: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", h2: func(f *http2.Framer, s uint32) { headers(f, s, events, true) }},
	{name: "mid-body", began: true, h1: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", h2: func(f *http2.Framer, s uint32) {
		headers(f, s, plainText, true)
		f.WriteData(s, false, []byte("half"))
	}},
	{name: "mid-chunk", began: true, h1: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", h2: func(f *http2.Framer, s uint32) {
		headers(f, s, plainText, true)
		f.WriteData(s, false, []byte("half"))
		f.WriteRSTStream(s, http2.ErrCodeInternal)
	}},
	{name: "mid-stream", began: true, sse: true, h1: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n", h2: func(f *http2.Framer, s uint32) {
		headers(f, s, events, true)
		f.WriteData(s, false, []byte("data: 1\n\n"))
	}},
}

// A ledger counts how often each request was carried out, by its id and by who did it.
type ledger struct {
	mu sync.Mutex
	n  map[string]map[string]int
}

func (l *ledger) enter(id, who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == nil {
		l.n = map[string]map[string]int{}
	}
	if l.n[id] == nil {
		l.n[id] = map[string]int{}
	}
	l.n[id][who]++
}

// ids are those of all requests so far. An agent may still be at one that nobody waits
// for.
func (l *ledger) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.n))
}

// of is how often the request was carried out, by anybody and by who.
func (l *ledger) of(id, who string) (all, his int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.n[id] {
		all += n
	}
	return all, l.n[id][who]
}

// mortal is an agent that dies at a stage of every answer: it resets the connection, or
// closes it. It speaks HTTP/1.1, or h2c.
func mortal(t *testing.T, s stage, l *ledger, h2c, resets bool) string {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				if h2c {
					dieH2(c, s, l)
				} else {
					dieH1(c, s, l)
				}
				if resets {
					c.(*net.TCPConn).SetLinger(0)
				}
			})
		}
	})
	t.Cleanup(func() {
		stop()
		ln.Close()
		serving.Wait()
	})
	return "http://" + ln.Addr().String()
}

func dieH1(c net.Conn, s stage, l *ledger) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	io.Copy(io.Discard, r.Body)
	l.enter(r.URL.Path, "mortal")
	io.WriteString(c, s.h1)
}

func dieH2(c net.Conn, s stage, l *ledger) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			l.enter(frame.PseudoValue("path"), "mortal")
			if frame.StreamEnded() {
				s.h2(f, frame.StreamID)
				return
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				s.h2(f, frame.StreamID)
				return
			}
		}
	}
}

// immortal is an agent that answers everything.
func immortal(l *ledger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		l.enter(r.URL.Path, "immortal")
		io.WriteString(w, "whole "+strings.TrimPrefix(r.URL.Path, "/"))
	}
}
