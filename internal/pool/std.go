package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An engine carries one request to an endpoint and returns the head of the answer.
//
// Its errors are *failure or, if the request itself is at fault, anything else.
// Once ctx has ended it returns at once, even if the body of the request blocks,
// and leaves that body alone. It closes the body when it has no more use for it.
// It goes on to send the body while the answer is read, until the answer ends.
type engine interface {
	RoundTrip(ctx context.Context, r *http.Request, c call) (*http.Response, error)
}

// A call is what an engine may ask for about a request, while it is under way.
type call struct {
	upgrade bool                                  // the request asks for another protocol: HTTP/1.1 only
	rewind  func() (body, bool)                   // makes the body start anew
	inform  func(status int, h http.Header) error // passes a 1xx answer on
	abort   func(error)                           // ends the context
}

const (
	maxHead      = 256 << 10 // bytes of the head of an answer
	streamWindow = 256 << 10 // bytes that an HTTP/2 agent may send ahead, per answer
	pingAfter    = 15 * time.Second
	closeWait    = 5 * time.Second
)

// std is the engine that stands on net/http.
type std struct {
	main, upgrades *http.Transport // the same, unless main may speak HTTP/2

	// trailed is for requests with trailers, the same unless main may speak HTTP/2: an
	// agent that has closed a stream takes trailers for an error of the connection, and
	// the exchanges of other clients are not to pay for that.
	trailed *http.Transport
	trips   crowd
	http2   atomic.Bool    // what the last handshake chose
	spare   chan *tls.Conn // has room for one: what speaks HTTP/2, and was dialed for HTTP/1.1
	done    chan struct{}  // closed with the endpoint
	once    sync.Once
}

func newStd(address *url.URL, l Link) *std {
	s := &std{done: make(chan struct{}), spare: make(chan *tls.Conn, 1)}
	d := newDialer(l)
	s.main = s.transport(address, l, d, l.Protocol)
	s.upgrades, s.trailed = s.main, s.main
	if address.Scheme == "https" && l.Protocol == Auto {
		s.upgrades = s.transport(address, l, d, H1)
	}
	if s.main.Protocols.HTTP2() || s.main.Protocols.UnencryptedHTTP2() {
		s.trailed = s.transport(address, l, d, l.Protocol)
	}
	return s
}

// transport makes a Transport that sends what it is given, and adds nothing.
func (s *std) transport(address *url.URL, l Link, d *dialer, protocol string) *http.Transport {
	p := &http.Protocols{}
	p.SetHTTP1(protocol == Auto || protocol == H1)
	p.SetHTTP2(protocol == H2 || protocol == Auto && address.Scheme == "https")
	p.SetUnencryptedHTTP2(protocol == H2C)
	t := &http.Transport{
		Protocols:           p,
		DisableCompression:  true,
		MaxIdleConnsPerHost: l.MaxIdle, IdleConnTimeout: l.Idle,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHead,
		ReadBufferSize:         4 << 10, WriteBufferSize: 4 << 10,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerStream: streamWindow,
			SendPingTimeout: pingAfter, PingTimeout: pingAfter,
		},
	}
	if l.MaxIdle == 0 {
		t.MaxIdleConnsPerHost = -1 // 0 would mean a default
	}
	if p.HTTP1() && !p.HTTP2() {
		t.MaxConnsPerHost = l.MaxActive
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.plain(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if protocol == H2C {
			return s.admit(c)
		}
		return s.admit(newConn(c))
	}
	cfg := tlsFor(address, l, p)
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := s.secure(func() (*tls.Conn, error) { return d.secure(ctx, network, addr, cfg) }, p)
		if err != nil {
			return nil, err
		}
		state := c.ConnectionState()
		if p.HTTP1() && p.HTTP2() {
			s.http2.Store(state.NegotiatedProtocol == H2)
		}
		if state.NegotiatedProtocol == H2 {
			return s.admit(c)
		}
		if !p.HTTP1() {
			_ = c.Close() // it never served
			return nil, &failure{kind: noHTTP2}
		}
		return s.admit(&tlsConn{conn: newConn(c), state: state})
	}
	return t
}

// secure takes the connection that was offered, or dials.
func (s *std) secure(dial func() (*tls.Conn, error), p *http.Protocols) (*tls.Conn, error) {
	if p.HTTP2() {
		select {
		case c := <-s.spare:
			return c, nil
		default:
		}
	}
	return dial()
}

// offer hands over a connection that speaks HTTP/2.
func (s *std) offer(c *tls.Conn) {
	s.http2.Store(true)
	select {
	case s.spare <- c:
	default:
		_ = c.Close() // there is one
	}
}

// withdraw closes a connection that was offered and not taken.
func (s *std) withdraw() {
	select {
	case c := <-s.spare:
		_ = c.Close() // it never served
	default:
	}
}

// tlsFor completes the TLS configuration with what the address and the protocol
// say.
func tlsFor(address *url.URL, l Link, p *http.Protocols) *tls.Config {
	cfg := l.TLS
	if cfg == nil {
		cfg = TLSConfig()
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = address.Hostname()
	}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	cfg.NextProtos = nil
	if p.HTTP2() {
		cfg.NextProtos = append(cfg.NextProtos, "h2")
	}
	if p.HTTP1() {
		cfg.NextProtos = append(cfg.NextProtos, "http/1.1")
	}
	return cfg
}

var errShut = errors.New("pool: the endpoint was closed")

// admit closes a connection that came about after the endpoint was closed.
func (s *std) admit(c net.Conn) (net.Conn, error) {
	select {
	case <-s.done:
		_ = c.Close() // it never served
		return nil, &failure{kind: unreachable, err: errShut}
	default:
		return c, nil
	}
}

// shut closes idle connections.
func (s *std) shut() {
	s.once.Do(func() { close(s.done) })
	s.main.CloseIdleConnections()
	s.upgrades.CloseIdleConnections()
	s.trailed.CloseIdleConnections()
	s.withdraw()
}

// wait waits for trips whose exchange is over but which still wait for a client's body.
func (s *std) wait() { s.trips.wait(closeWait) }

// RoundTrip implements engine.
func (s *std) RoundTrip(ctx context.Context, r *http.Request, c call) (*http.Response, error) {
	defer s.withdraw()
	rt := s.main
	switch {
	case c.upgrade:
		rt = s.upgrades
	case len(r.Trailer) > 0:
		rt = s.trailed
	}
	t := newTrip(ctx, r, c)
	t.stale = rt.CloseIdleConnections
	r = t.request(r)
	if r.Body == nil {
		resp, err := rt.RoundTrip(r)
		return t.settle(resp, err)
	}
	s.trips.enter()
	go func() {
		defer s.trips.leave()
		resp, err := rt.RoundTrip(r)
		t.deliver(resp, err)
	}()
	return t.await()
}

// sort finds out what kind of failure an error of Transport is. What is none is
// returned as it is.
func (t *trip) sort(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := errors.AsType[*failure](err); ok {
		g := *f
		g.sent = t.sentLocked()
		return &g
	}
	f := &failure{sent: t.sentLocked(), err: err}
	switch {
	case !t.got:
		return err // nothing is wrong with the agent: the request is not valid
	case strings.Contains(err.Error(), "response header"): // "server response headers exceeded", and as HTTP/2 says it
		f.kind = headTooLarge
	case refusedTLS(err):
		f.kind = handshake
	case t.conn != nil && t.conn.failed.Load() == nil && t.first, t.conn == nil && wrongHTTP2(err):
		f.kind = malformed // nothing was wrong with the connection
	default:
		f.kind = broke
	}
	return f
}

// wrongHTTP2 reports whether it was us who found an error in the agent's HTTP/2. The
// types of the errors are internal to net/http.
func wrongHTTP2(err error) bool {
	s := err.Error()
	return strings.Contains(s, "connection error: ") || strings.Contains(s, "stream error: ") && !strings.Contains(s, "received from peer")
}

// refusedTLS reports whether the agent ended the connection by a TLS alert: in TLS
// 1.3 it says only after the handshake that it does not take our certificate.
func refusedTLS(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// A crowd counts goroutines that nobody can end, only wait for.
type crowd struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // made by who waits
}

func (c *crowd) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// none reports whether nobody is left.
func (c *crowd) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n == 0
}

// wait waits until nobody is left, at most as long as limit says.
func (c *crowd) wait(limit time.Duration) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-empty:
	case <-timer.C:
	}
}
