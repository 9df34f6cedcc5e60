package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/airside-gateway/airside/bench/internal/wire"
)

const streamHead = "HTTP/1.1 200 OK\r\nServer: mock\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Type: text/event-stream\r\n" +
	"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"

// maxSize bounds an answer or an event.
const maxSize = 64 << 20

// An agent keeps what it has answered once, ready to be written again.
type agent struct {
	answers, events sync.Map // size -> []byte
}

func newAgent() *agent { return new(agent) }

// An order is what a request asks for.
type order struct {
	stream, close, chunked bool
	length                 int64 // of the request body
	size, n                int
	delay, gap, hold       time.Duration
}

// talk answers the requests of one connection until it ends.
func (a *agent) talk(ctx context.Context, c net.Conn) {
	br := bufio.NewReaderSize(c, 8<<10)
	pause := newPause(ctx)
	defer pause.stop()
	for {
		o, err := readOrder(br, c)
		if err != nil {
			return
		}
		head := wire.Head{Length: o.length}
		if o.chunked {
			head.Length = wire.Chunked
		}
		if wire.SkipBody(br, head, nil) != nil || !pause.wait(o.delay) {
			return
		}
		if o.stream {
			err = a.stream(c, br, o, pause)
		} else {
			_, err = c.Write(kept(&a.answers, o.size, answer))
		}
		if err != nil || o.close {
			return
		}
	}
}

// readOrder reads the head of a request. Whoever expects it is told to continue.
func readOrder(br *bufio.Reader, w io.Writer) (order, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return order{}, err
	}
	_, rest, ok := bytes.Cut(line, []byte(" "))
	target, _, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 {
		return order{}, wire.ErrMalformed
	}
	path, query, _ := bytes.Cut(target, []byte("?"))
	o := order{stream: bytes.HasSuffix(path, []byte("/sse")), size: 1024, n: 100}
	if err := o.parse(string(query)); err != nil {
		return order{}, err
	}
	for {
		line, err = br.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return o, err
		}
		if err := o.field(line, w); err != nil {
			return order{}, err
		}
	}
}

// parse reads the query.
func (o *order) parse(query string) (err error) {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		switch k {
		case "size":
			o.size, err = strconv.Atoi(v)
		case "n":
			o.n, err = strconv.Atoi(v)
		case "delay":
			o.delay, err = time.ParseDuration(v)
		case "gap":
			o.gap, err = time.ParseDuration(v)
		case "hold":
			o.hold, err = time.ParseDuration(v)
		}
		if err != nil {
			return err
		}
	}
	if o.size < 0 || o.size > maxSize {
		return fmt.Errorf("size %d: %w", o.size, wire.ErrMalformed)
	}
	return nil
}

func (o *order) field(line []byte, w io.Writer) (err error) {
	switch line[0] | 0x20 {
	case 'c':
		if v, ok := wire.Value(line, "content-length"); ok {
			o.length, err = strconv.ParseInt(string(v), 10, 64)
		} else if v, ok := wire.Value(line, "connection"); ok {
			o.close = bytes.EqualFold(v, []byte("close"))
		}
	case 't':
		if _, ok := wire.Value(line, "transfer-encoding"); ok {
			o.chunked = true
		}
	case 'e':
		if _, ok := wire.Value(line, "expect"); ok {
			_, err = io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n")
		}
	}
	return err
}

func (a *agent) stream(c net.Conn, br *bufio.Reader, o order, p *pause) error {
	if _, err := io.WriteString(c, streamHead); err != nil {
		return err
	}
	event := kept(&a.events, o.size, event)
	for i := range o.n {
		if i > 0 && !p.wait(o.gap) {
			return context.Canceled
		}
		if _, err := c.Write(event); err != nil {
			return err
		}
	}
	if err := hold(c, br, o.hold); err != nil {
		return err
	}
	_, err := io.WriteString(c, "0\r\n\r\n")
	return err
}

// hold keeps the stream open for d, or until the other side leaves: streams that
// nobody reads any more would use up the open files.
func hold(c net.Conn, br *bufio.Reader, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if _, err := br.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return c.SetReadDeadline(time.Time{})
}

// answer is a whole answer in the shape of a chat completion.
func answer(size int) []byte {
	const head = `{"id":"chatcmpl-bench","object":"chat.completion","created":1760000000,"model":"mock-1","choices":[{"index":0,"message":{"role":"assistant","content":"`
	const tail = `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":120,"completion_tokens":200,"total_tokens":320}}`
	body := head + filler(size-len(head)-len(tail)) + tail
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: mock\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nX-Request-Id: 0123456789abcdef\r\nOpenai-Processing-Ms: 12\r\n\r\n%s", len(body), body)
}

// event is one event as one chunk; the event itself has size bytes.
func event(size int) []byte {
	const head = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"`
	const tail = `"}}]}` + "\n\n"
	body := head + filler(size-len(head)-len(tail)) + tail
	return fmt.Appendf(nil, "%x\r\n%s\r\n", len(body), body)
}

func filler(n int) string { return strings.Repeat("x", max(n, 1)) }

func kept(m *sync.Map, size int, build func(int) []byte) []byte {
	v, ok := m.Load(size)
	if !ok {
		v, _ = m.LoadOrStore(size, build(size))
	}
	return v.([]byte) //nolint:errcheck // nothing else is put in
}

// A pause waits, again and again, with one timer.
type pause struct {
	done  <-chan struct{} // of the connection's context
	timer *time.Timer
}

func newPause(ctx context.Context) *pause {
	p := &pause{done: ctx.Done(), timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	return p
}

// wait waits for d and reports whether to go on.
func (p *pause) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	p.timer.Reset(d)
	select {
	case <-p.timer.C:
		return true
	case <-p.done:
		return false
	}
}

func (p *pause) stop() { p.timer.Stop() }
