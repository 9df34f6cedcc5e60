package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// lastWords is how long an agent may still speak after the client has ended its
// side of an upgraded connection.
const lastWords = 5 * time.Second

// switchProtocols joins the client's connection and the agent's, as for
// WebSocket (RFC 9110 section 7.8), until one of them ends.
func (e *exchange) switchProtocols(resp *http.Response) error {
	agent, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || e.major != 1 {
		return &unsent{airside.Errorf(airside.UpstreamFailed, "the agent switched protocols where it cannot")}
	}
	client, rw, err := e.ctl.Hijack()
	if err != nil {
		return &unsent{fmt.Errorf("taking over the connection: %w", err)}
	}
	e.switched = true
	defer func() { _ = client.Close() }() // both ends are done
	if !e.server.adopt(client) {
		return nil
	}
	defer e.server.release(client)
	_ = client.SetDeadline(time.Time{}) // those of the HTTP server are over; a dead connection fails by itself
	if err := e.writeSwitch(rw.Writer, resp); err != nil {
		return nil //nolint:nilerr // the client is gone: there is nobody to cut off
	}
	// What was read ahead comes first; then the connection itself, since the reader of
	// net/http would take the end of the client's side for the end of the exchange.
	ahead := io.LimitReader(rw.Reader, int64(rw.Reader.Buffered()))
	e.join(client, io.MultiReader(ahead, client), agent)
	return nil
}

func (e *exchange) writeSwitch(w *bufio.Writer, resp *http.Response) error {
	h := resp.Header.Clone()
	h.Set("Connection", "Upgrade")
	h.Set(requestID, e.x.ID)
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	if _, err := io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
		return err
	}
	if err := h.Write(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\r\n"); err != nil {
		return err
	}
	return w.Flush()
}

// join copies both ways and returns when both have ended.
func (e *exchange) join(client net.Conn, from io.Reader, agent io.ReadWriteCloser) {
	toClient, toAgent := &way{w: client}, &way{w: agent}
	l := newLookout(e.listener.Limits.WriteTimeout, func() {
		_ = client.SetDeadline(past)
		_ = agent.Close()
	}, toClient, toAgent)
	defer func() { e.failed = l.end() }()
	var last *time.Timer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(toAgent, from) // whichever side broke, this way is over
		if half, ok := agent.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		last = time.AfterFunc(lastWords, func() {
			_ = client.SetWriteDeadline(past)
			_ = agent.Close()
		})
	}()
	e.sent, _ = io.Copy(toClient, agent)
	_ = client.SetReadDeadline(past)
	_ = agent.Close()
	<-ended
	last.Stop()
}

// A way is one direction of a tunnel. It knows whether a write is under way.
type way struct {
	w     io.Writer
	turns atomic.Uint64 // odd while a write is under way

	seen  uint64 // for the lookout: turns, when it last looked
	looks int    // and how often it has seen the same write since
}

// Write passes p on.
func (w *way) Write(p []byte) (int, error) {
	w.turns.Add(1)
	defer w.turns.Add(1)
	return w.w.Write(p)
}

// stuck reports whether a write has been under way for more than a number of looks.
func (w *way) stuck(limit int) bool {
	now := w.turns.Load()
	if now != w.seen || now%2 == 0 {
		w.seen, w.looks = now, 0
		return false
	}
	w.looks++
	return w.looks >= limit
}

// A lookout ends a tunnel when one write takes longer than it may, because who should
// read does not. It looks from time to time: an alarm armed for each write would cost
// more than a small message does, and a deadline set ahead a system call.
type lookout struct {
	every time.Duration
	ring  func()
	ways  [2]*way

	mu     sync.Mutex
	timer  *time.Timer
	over   bool
	failed error
}

// looks is how often a lookout looks within the time that a write may take. It may
// take one look longer.
const looks = 4

// newLookout looks after the way to the client and that to the agent. Ring makes
// their writes fail. A limit of 0 is none.
func newLookout(limit time.Duration, ring func(), toClient, toAgent *way) *lookout {
	l := &lookout{every: max(limit/looks, time.Millisecond), ring: ring, ways: [2]*way{toClient, toAgent}}
	if limit > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer = time.AfterFunc(l.every, l.look)
	}
	return l
}

func (l *lookout) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return
	case l.ways[0].stuck(looks):
		l.failed = airside.Errorf(airside.Canceled, "the client stopped reading an upgraded connection").Because(errClient)
	case l.ways[1].stuck(looks):
		l.failed = airside.Errorf(airside.Timeout, "the agent stopped reading an upgraded connection")
	default:
		l.timer.Reset(l.every)
		return
	}
	l.over = true
	l.ring()
}

// end ends the lookout and says why the tunnel failed, if it knows.
func (l *lookout) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	return l.failed
}
