package smuggle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"
)

// patience is what ends a test in which somebody waits for ever.
const patience = 20 * time.Second

// An agent stands behind the gateway, reads with the strict [reader] in its canonical
// mind, answers each request for itself, and keeps its connections. What it sees is
// written down by the address of the client, which the gateway tells in
// X-Forwarded-For, and which no client can choose: each case has one of its own.
type agent struct {
	ledger
	address string
	ln      net.Listener
	wg      sync.WaitGroup

	connMu sync.Mutex
	conns  map[net.Conn]bool
}

// A ledger says what was seen of each client.
type ledger struct {
	mu    sync.Mutex
	pages map[string]*page
	stray []string // what nobody sent
}

// A page is what was seen of one client.
type page struct {
	seen  []*message
	dirty []string
}

// open begins the page of a client.
func (l *ledger) open(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages[client] = &page{}
}

// read returns what the page of a client holds so far.
func (l *ledger) read(client string) page {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.pages[client]
}

func (l *ledger) write(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	client := m.value("x-forwarded-for")
	if p := l.pages[client]; p != nil && m.value("x-request-id") != "" {
		p.seen = append(p.seen, m)
		return
	}
	l.stray = append(l.stray, fmt.Sprintf("%s %v", m, m.fields))
}

var forwardedFor = regexp.MustCompile(`\r\nX-Forwarded-For: ([0-9.]+)\r\n`)

// blame writes down that raw is ambiguous.
func (l *ledger) blame(raw []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf("%v: %.2000q", err, raw)
	if m := forwardedFor.FindSubmatch(raw); m != nil {
		if p := l.pages[string(m[1])]; p != nil {
			p.dirty = append(p.dirty, text)
			return
		}
	}
	l.stray = append(l.stray, text)
}

// strays returns what cannot be put down to anybody.
func (l *ledger) strays() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stray
}

func newAgent(t *testing.T) *agent {
	a := newSilent(t)
	a.accept(a.serve)
	return a
}

// newSilent returns an agent that accepts nobody yet.
func newSilent(t *testing.T) *agent {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{pages: map[string]*page{}, address: "http://" + ln.Addr().String(), ln: ln, conns: map[net.Conn]bool{}}
	t.Cleanup(a.close)
	return a
}

// accept has every connection served, until the agent is closed.
func (a *agent) accept(serve func(net.Conn)) {
	a.wg.Go(func() {
		for {
			c, err := a.ln.Accept()
			if err != nil {
				return
			}
			a.keep(c)
			a.wg.Go(func() { serve(c) })
		}
	})
}

func (a *agent) keep(c net.Conn) {
	a.connMu.Lock()
	defer a.connMu.Unlock()
	a.conns[c] = true
}

func (a *agent) drop(c net.Conn) {
	a.connMu.Lock()
	defer a.connMu.Unlock()
	delete(a.conns, c)
	c.Close()
}

func (a *agent) close() {
	a.ln.Close()
	a.connMu.Lock()
	for c := range a.conns {
		c.Close()
	}
	a.connMu.Unlock()
	a.wg.Wait()
}

// serve answers the requests of one connection.
func (a *agent) serve(c net.Conn) {
	defer a.drop(c)
	var raw bytes.Buffer // since the last request
	r := &reader{r: bufio.NewReader(io.TeeReader(c, &raw)), canonical: true, before: func(m *message) { a.early(c, m) }}
	for {
		m, err := r.request()
		if d, ok := errors.AsType[dirt](err); ok {
			a.blame(raw.Bytes(), d)
		}
		if err != nil {
			return // a request that is cut off was none
		}
		raw.Reset()
		if m.target != early {
			a.write(m)
			c.Write(echo(m)) // or the connection is closed, which shows
		}
		// One that is answered early may be followed by the next at once.
		if m.target != early && r.r.Buffered() > 0 {
			b, _ := r.r.Peek(r.r.Buffered())
			a.blame(b, dirt("there is more after the request, before it was answered"))
			return
		}
	}
}

// early is the target that is answered as soon as its head is there.
const early = "/early"

// early asks for a body that waits to be asked for, or answers before it has come.
func (a *agent) early(c net.Conn, m *message) {
	switch {
	case m.target == early:
		head := *m
		a.write(&head)
		c.Write(echo(&head))
	case m.names("expect", "100-continue"):
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
}

// echo is the answer to m: it names the request that it answers.
func echo(m *message) []byte {
	body := "saw " + m.value("x-request-id") + "\n"
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Saw: %s\r\nX-Saw-Method: %s\r\nContent-Length: %d\r\n\r\n", m.value("x-request-id"), m.method, len(body))
	if m.method == "HEAD" {
		return []byte(head)
	}
	return []byte(head + body)
}
