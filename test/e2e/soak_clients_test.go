package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// A visitor is one who uses the gateway: a goroutine with a source of chance and
// clients of its own. What it does is ended when ctx is.
type visitor struct {
	addr   string
	rand   *rand.Rand
	h1, h2 *http.Client
}

// visits is what visitors do. Those that behave must get what they asked for; those
// that do not, and those who meet a bad agent, must get an end.
var visits = []struct {
	name string
	do   func(v *visitor, ctx context.Context) error
}{
	{"get", func(v *visitor, ctx context.Context) error {
		return v.exchange(ctx, v.h1, "GET", "/good/n/7", nil, "7")
	}},
	{"post", func(v *visitor, ctx context.Context) error {
		b := v.text(64 << 10)
		return v.exchange(ctx, v.h1, "POST", "/good/echo", strings.NewReader(b), b)
	}},
	{"post in chunks", func(v *visitor, ctx context.Context) error {
		b := v.text(64 << 10)
		return v.exchange(ctx, v.h1, "POST", "/good/echo", struct{ io.Reader }{strings.NewReader(b)}, b)
	}},
	{"post over HTTP/2", func(v *visitor, ctx context.Context) error {
		b := v.text(64 << 10)
		return v.exchange(ctx, v.h2, "POST", "/good/echo", strings.NewReader(b), b)
	}},
	{"events", func(v *visitor, ctx context.Context) error {
		return v.exchange(ctx, v.h1, "GET", "/good/events", nil, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\ndata: 5\n\ndata: 6\n\ndata: 7\n\ndata: 8\n\ndata: 9\n\n")
	}},
	{"expect 100-continue", (*visitor).expect},
	{"pipelining", (*visitor).pipeline},
	{"WebSocket", func(v *visitor, ctx context.Context) error { return v.talk(ctx, true) }},
	{"WebSocket, left", func(v *visitor, ctx context.Context) error { return v.talk(ctx, false) }},
	{"slow sender", (*visitor).sendSlowly},
	{"slow reader", (*visitor).readSlowly},
	{"reader that stalls", (*visitor).stall},
	{"events, left", (*visitor).leaveEvents},
	{"left while the agent thinks", func(v *visitor, ctx context.Context) error {
		return v.leave(ctx, "GET /good/slow HTTP/1.1\r\nHost: h\r\n\r\n")
	}},
	{"left within the head", func(v *visitor, ctx context.Context) error {
		return v.leave(ctx, "GET /good/n/1 HTTP/1.1\r\nHost: h\r\nX-Be")
	}},
	{"left within the body", func(v *visitor, ctx context.Context) error {
		return v.leave(ctx, "POST /good/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n"+v.text(5000))
	}},
	{"left within a chunk", func(v *visitor, ctx context.Context) error {
		return v.leave(ctx, "POST /good/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc")
	}},
	{"bad agent", func(v *visitor, ctx context.Context) error { return v.suffer(ctx, v.h1) }},
	{"bad agent over HTTP/2", func(v *visitor, ctx context.Context) error { return v.suffer(ctx, v.h2) }},
}

// text is up to most bytes of text.
func (v *visitor) text(most int) string {
	return strings.Repeat("abcdefghijklmnop", 1+v.rand.IntN(most/16))
}

// exchange makes a request and wants 200 and the answer.
func (v *visitor) exchange(ctx context.Context, c *http.Client, method, path string, body io.Reader, want string) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+v.addr+path, body)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(b) != want {
		return fmt.Errorf("got %d with %d bytes, %w; want 200 with %d", resp.StatusCode, len(b), err, len(want))
	}
	return nil
}

// connect opens a connection that ends with ctx.
func (v *visitor) connect(ctx context.Context) (*net.TCPConn, func(), error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", v.addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
	return c.(*net.TCPConn), func() { stop(); c.Close() }, nil
}

func (v *visitor) expect(ctx context.Context) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	io.WriteString(c, "POST /good/echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	br := bufio.NewReader(c)
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		return fmt.Errorf("got %q, %w; want 100", line, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		return err
	}
	io.WriteString(c, "hello")
	return wantAnswer(br, "hello")
}

// wantAnswer reads an answer and wants 200 and the body.
func wantAnswer(br *bufio.Reader, want string) error {
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(b) != want {
		return fmt.Errorf("got %d %.100q, %w; want 200 %.100q", resp.StatusCode, b, err, want)
	}
	return nil
}

// pipeline sends several requests at once, in pieces that chance cuts, and wants the
// answers in order.
func (v *visitor) pipeline(ctx context.Context) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	var all bytes.Buffer
	for i := range 6 {
		if i%2 == 0 {
			fmt.Fprintf(&all, "GET /good/n/%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		} else {
			fmt.Fprintf(&all, "POST /good/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%d", i)
		}
	}
	for all.Len() > 0 {
		if _, err := c.Write(all.Next(1 + v.rand.IntN(all.Len()))); err != nil {
			return err
		}
	}
	br := bufio.NewReader(c)
	for i := range 6 {
		if err := wantAnswer(br, fmt.Sprint(i)); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
	}
	return nil
}

// talk speaks by WebSocket, and says goodbye or does not.
func (v *visitor) talk(ctx context.Context, goodbye bool) error {
	c, _, err := websocket.Dial(ctx, "ws://"+v.addr+"/good/ws", nil)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	for i := range 3 {
		want := v.text(2048)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			return err
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			return fmt.Errorf("message %d: got %d bytes, %w; want %d", i, len(got), err, len(want))
		}
	}
	if !goodbye {
		return nil
	}
	return c.Close(websocket.StatusNormalClosure, "")
}

func (v *visitor) sendSlowly(ctx context.Context) error {
	r, w := io.Pipe()
	want := v.text(2048)
	sent := make(chan error, 1)
	go func() {
		for part := range slices.Chunk([]byte(want), 256) {
			pause(ctx, 10*time.Millisecond)
			if _, err := w.Write(part); err != nil {
				break
			}
		}
		sent <- w.Close()
	}()
	err := v.exchange(ctx, v.h1, "POST", "/good/echo", r, want)
	r.Close() // ends the sender, if the exchange did not take everything
	return errors.Join(err, <-sent)
}

func (v *visitor) readSlowly(ctx context.Context) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	const size = 256 << 10
	fmt.Fprintf(c, "GET /good/large/%d HTTP/1.1\r\nHost: h\r\n\r\n", size)
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16<<10), nil)
	if err != nil {
		return err
	}
	var n int64
	for err == nil {
		var k int64
		pause(ctx, 5*time.Millisecond)
		k, err = io.CopyN(io.Discard, resp.Body, 16<<10)
		n += k
	}
	if !errors.Is(err, io.EOF) || n != size {
		return fmt.Errorf("got %d bytes and %w, want %d", n, err, size)
	}
	return nil
}

// stall asks for more than buffers hold, reads a little, and leaves.
func (v *visitor) stall(ctx context.Context) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	io.WriteString(c, "GET /good/large/16000000 HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := io.CopyN(io.Discard, c, 1000); err != nil {
		return err
	}
	pause(ctx, 500*time.Millisecond)
	return nil
}

func (v *visitor) leaveEvents(ctx context.Context) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	io.WriteString(c, "GET /good/events HTTP/1.1\r\nHost: h\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, 9)
	if v.rand.IntN(2) == 0 {
		c.SetLinger(0)
	}
	return err
}

// leave sends something and leaves, in one of three ways.
func (v *visitor) leave(ctx context.Context, what string) error {
	c, done, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := io.WriteString(c, what); err != nil {
		return err
	}
	pause(ctx, time.Duration(v.rand.IntN(20))*time.Millisecond)
	switch v.rand.IntN(3) {
	case 0:
		c.SetLinger(0)
	case 1:
		c.CloseWrite()
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

// suffer asks a bad agent. Whatever it does, the client is told in good time, by a
// status that blames the agent or by a cut, and gets nothing of another answer.
func (v *visitor) suffer(ctx context.Context, c *http.Client) error {
	way := badWays[v.rand.IntN(len(badWays))]
	method, body := "GET", io.Reader(nil)
	if v.rand.IntN(2) == 0 {
		method, body = "POST", strings.NewReader(v.text(256<<10))
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+v.addr+"/bad/"+way.name, body)
	if err != nil {
		return err
	}
	status, answer, whole := 0, []byte(nil), false
	resp, err := c.Do(req)
	if err == nil {
		defer resp.Body.Close()
		status = resp.StatusCode
		answer, err = io.ReadAll(resp.Body)
		whole = err == nil
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: no end: %w", method, way.name, err)
	case strings.Contains(string(answer), "mine"):
		return fmt.Errorf("%s %s: got what is not for this answer: %.100q", method, way.name, answer)
	case way.status == 0 && whole && status == 200:
		return fmt.Errorf("%s %s: an answer that was broken off looks whole: %.100q", method, way.name, answer)
	case method == "GET" && way.status != 0 && (status != way.status || !whole):
		return fmt.Errorf("%s %s: got %d, %w; want %d", method, way.name, status, err, way.status)
	case !slices.Contains([]int{0, 200, 413, 502, 504}, status): // a body may be on its way still, so that a POST meets more
		return fmt.Errorf("%s %s: got %d", method, way.name, status)
	}
	return nil
}
