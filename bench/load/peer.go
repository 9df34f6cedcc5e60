package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/airside-gateway/airside/bench/internal/wire"
)

// key is the API key that every request carries, for proxies that ask for one.
const key = "sk-bench-0123456789abcdef0123456789abcdef"

// A peer is what is connected to.
type peer struct {
	addr string
	tls  *tls.Config // nil: in clear
}

// prepare makes the peer and the requests from the flags.
func (c *config) prepare() error {
	u, err := url.Parse(c.target)
	if err != nil {
		return err
	}
	c.peer = peer{addr: u.Host}
	if err := wire.Loopback(c.peer.addr); err != nil {
		return err
	}
	if u.Scheme == "https" {
		if c.peer.tls, err = c.trust(); err != nil {
			return err
		}
	}
	c.compose(u.RequestURI())
	return nil
}

// trust verifies as usual, by the one certificate of the benchmark, and speaks
// TLS 1.3, and HTTP/1.1 or, with -m, HTTP/2.
func (c *config) trust() (*tls.Config, error) {
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("-ca: there is no certificate in it")
	}
	protocol := "http/1.1"
	if c.multiplex > 0 {
		protocol = "h2"
	}
	return &tls.Config{RootCAs: roots, ServerName: c.host, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}}, nil
}

const agentName = "load/1" // as User-Agent

// compose makes the requests.
func (c *config) compose(target string) {
	if c.body > 0 {
		const head = `{"model":"mock-1","stream":false,"messages":[{"role":"user","content":"`
		const tail = `"}]}`
		c.content = []byte(head + strings.Repeat("a", max(1, c.body-len(head)-len(tail))) + tail)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: application/json\r\nAuthorization: Bearer %s\r\n",
		c.method, target, c.host, agentName, key)
	if len(c.content) > 0 {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(c.content))
	}
	b.WriteString("\r\n")
	b.Write(c.content)
	c.request = b.Bytes()
	c.block(target)
}

// A line is one connection to the peer. It is dialled when it is needed.
type line struct {
	peer   peer
	buffer int
	conn   net.Conn
	br     *bufio.Reader
}

// ask sends request and reads the answer, which chunk sees as it comes. After an
// error, and where the peer says so, the connection is closed; the next call
// makes a new one. When ctx ends the connection ends, and with it the call.
func (l *line) ask(ctx context.Context, request []byte, chunk func(int)) (wire.Head, error) {
	h, err := l.exchange(request, chunk)
	if err != nil || h.Close {
		l.close()
	}
	if ctx.Err() != nil {
		return h, ctx.Err()
	}
	return h, err
}

func (l *line) exchange(request []byte, chunk func(int)) (wire.Head, error) {
	if _, err := l.conn.Write(request); err != nil {
		return wire.Head{}, err
	}
	h, err := wire.ReadHead(l.br)
	if err != nil {
		return h, err
	}
	return h, wire.SkipBody(l.br, h, chunk)
}

// open connects, if there is no connection. A full backlog is given some time.
func (l *line) open(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	var err error
	for range 20 {
		if l.conn, err = l.peer.dial(ctx); err == nil {
			if l.br == nil {
				l.br = bufio.NewReaderSize(l.conn, l.buffer)
			} else {
				l.br.Reset(l.conn)
			}
			return nil
		}
		if !wait(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return err
}

func (p peer) dial(ctx context.Context) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
	if err != nil || p.tls == nil {
		return c, err
	}
	t := tls.Client(c, p.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if got, want := t.ConnectionState().NegotiatedProtocol, p.tls.NextProtos[0]; want == "h2" && got != want {
		return nil, errors.Join(fmt.Errorf("HTTP/2 was not agreed on, but %q", got), t.Close())
	}
	return t, nil
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// wait waits for d and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
