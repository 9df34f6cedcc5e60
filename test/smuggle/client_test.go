package smuggle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// An engine is what serves HTTP/1.1 and asks agents, and how it is configured.
type engine struct {
	name             string
	strict           bool // it refuses all that the reader refuses
	watches          bool // it closes a connection to an agent that must not be used again at once, not before its next use
	listen, upstream string
}

// engines are those of the gateway. Our own, which is the default, is the strict one;
// what net/http takes beyond it, the cases of std say.
var engines = []engine{
	{name: "fast", strict: true},
	{name: "std", watches: true, listen: "engine: std,", upstream: "engine: std,"},
}

// config is a gateway that passes everything on to one agent.
func (e *engine) config(kept int) string {
	return fmt.Sprintf(`
admin: off
shutdown: { grace: 10s }
listen: { address: "127.0.0.1:0", %s limits: { headers: 16KiB, body: 1MiB, header_timeout: 1m, body_timeout: 1m } }
upstreams: { agent: { http: { url: '$1', %s connections: { idle: %d } } } }
routes: [{ path: /*, to: agent }]
`, e.listen, e.upstream, kept)
}

// idle is how many connections to the agent are kept.
const idle = 256

// each runs f with every engine, and a gateway before a strict agent.
func each(t *testing.T, f func(t *testing.T, e engine, gateway string, a *agent)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			a := newAgent(t)
			g := airsidetest.Start(t, e.config(idle), a.address)
			f(t, e, g.Addr, a)
		})
	}
}

// An addresses gives every client an address of its own in 127.0.0.0/8.
type addresses struct{ n atomic.Uint32 }

func (a *addresses) next() net.IP {
	n := a.n.Add(1)
	return net.IPv4(127, 1+byte(n>>16), byte(n>>8), byte(n))
}

// A client is one connection to the gateway.
type client struct {
	conn net.Conn
	r    *reader
}

func dial(t testing.TB, gateway string, from net.IP) (*client, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	c, err := d.DialContext(t.Context(), "tcp", gateway)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	return &client{conn: c, r: &reader{r: bufio.NewReader(c)}}, nil
}

// send writes without waiting for an answer. That the gateway has closed the
// connection meanwhile shows in what is read.
func (c *client) send(b []byte) {
	c.conn.Write(b)
}

// finish says that nothing more will be sent.
func (c *client) finish() {
	c.conn.(*net.TCPConn).CloseWrite()
}

func (c *client) close() {
	c.conn.(*net.TCPConn).SetLinger(0) // many connections: none is to linger
	c.conn.Close()
}

// An end is how reading answers ended: nil is that the gateway closed the connection
// between two answers.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// meaning reads what a client sends as the RFC has it: the requests up to the first
// that is ambiguous or not whole, and what is wrong with that; nil if the connection
// can go on, io.EOF if it is to be closed after the last one.
func meaning(sent []byte) ([]*message, error) {
	r := &reader{r: bufio.NewReader(bytes.NewReader(sent))}
	var out []*message
	for {
		m, err := r.request()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m)
		if m.last {
			return out, io.EOF
		}
	}
}
