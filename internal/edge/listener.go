package edge

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits bound what a client may make the gateway hold, and for how long.
type Limits struct {
	Headers       int           // bytes of a request head
	Body          int64         // bytes of a request body; airside.NoLimit for none
	Connections   int           // open at once; 0 for no limit
	Idle          time.Duration // longest wait for the next request on a connection
	HeaderTimeout time.Duration // longest time for a request head to arrive, the TLS handshake included
	BodyTimeout   time.Duration // longest silence within a request body
	WriteTimeout  time.Duration // longest time one write to the client may take
}

// A Listener is an address and how it is served. Its settings can change while it
// is open; see [Server.Prepare].
type Listener struct {
	Address       string // host:port
	TLS           *TLS   // nil for plain
	HTTP1, HTTP2  bool   // HTTP/2 without TLS is h2c by prior knowledge
	HTTP3         bool   // over UDP, on the same host and port; with TLS only
	Standard      bool   // serve HTTP/1.1 and HTTP/2 by net/http in the place of our own engines
	Redirect      bool   // answer every request with the same address by https
	RedirectPort  int    // the port to redirect to; 0 is 443
	Limits        Limits
	Trust         []netip.Prefix // peers whose forwarding headers and PROXY lines are believed
	ProxyProtocol bool           // trusted peers begin with a PROXY line (v1 or v2)

	tls    *tls.Config // built of TLS
	door   *door       // for HTTP3
	altSvc string      // how answers say that there is HTTP3
}

func (l *Listener) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(l.Trust, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sameEngine reports whether l and m can be served by one engine: what differs is
// read anew for each request or connection.
func (l *Listener) sameEngine(m *Listener) bool {
	return l.HTTP1 == m.HTTP1 && l.HTTP2 == m.HTTP2 && l.Standard == m.Standard && l.Limits.Headers == m.Limits.Headers &&
		l.Limits.Idle == m.Limits.Idle && l.Limits.WriteTimeout == m.Limits.WriteTimeout && l.Limits.HeaderTimeout == m.Limits.HeaderTimeout && (l.TLS == nil) == (m.TLS == nil)
}

// A socket is an open address. Its listener's settings, and the engine that serves
// its connections, can be replaced while it is open.
type socket struct {
	server *Server
	ln     net.Listener
	live   atomic.Pointer[served]
	open   atomic.Int64   // connections
	wg     sync.WaitGroup // engines
	taking sync.WaitGroup // accept

	last atomic.Int64 // nanoseconds since 1970: until then, who waits is accepted; 0 unless that comes to an end by itself

	full    overruns
	refused atomic.Uint64 // connections, as full counts them
}

// served is a listener with the engine that serves it.
type served struct {
	*Listener
	engine *running
	conns  *handOver
}

func (s *Server) openSocket(l *Listener) (*socket, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // Linux lets no filter onto such an address; see close
	ln, err := lc.Listen(s.ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w%s", l.Address, err, advice(err))
	}
	return &socket{server: s, ln: ln}, nil
}

// advice says what to do about an address that cannot be opened; empty if that is not known.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (another program has it: end that one, or give this gateway another address under listen)"
	case errors.Is(err, syscall.EACCES):
		return " (ports below 1024 are for privileged programs: take another, or grant CAP_NET_BIND_SERVICE)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (this machine does not have that address: :8080 listens on all it has)"
	}
	return ""
}

// use makes l the settings in force. Connections that are open keep their engine.
func (k *socket) use(l *Listener) {
	old := k.live.Load()
	if old != nil && old.sameEngine(l) {
		k.live.Store(&served{Listener: l, engine: old.engine, conns: old.conns})
		return
	}
	next := &served{Listener: l, conns: newHandOver(k.ln.Addr())}
	next.engine = k.newEngine(l)
	k.server.engines.add(next.engine)
	k.wg.Go(func() {
		if err := next.engine.Serve(next.conns); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			k.server.Log.LogAttrs(k.server.ctx, slog.LevelError, "an engine stopped", slog.String("address", l.Address), slog.Any("err", err))
		}
	})
	k.live.Store(next)
	if old == nil {
		k.taking.Go(k.accept)
		return
	}
	old.engine.replaced.Store(true)
	_ = old.conns.Close() // its engine serves what it has, and takes nothing new
}

// accept hands each connection to the engine in force until the address is closed.
func (k *socket) accept() {
	for delay := time.Duration(0); ; {
		c, err := k.ln.Accept()
		if errors.Is(err, net.ErrClosed) || isTimeout(err) && !k.more() {
			_ = k.ln.Close()
			_ = k.live.Load().conns.Close()
			return
		}
		if isTimeout(err) {
			continue
		}
		if err != nil { // out of descriptors, most likely: some will be given back
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			k.server.Log.LogAttrs(k.server.ctx, slog.LevelError, "accepting", slog.Any("err", err), slog.Duration("again_in", delay))
			select {
			case <-time.After(delay):
			case <-k.server.ctx.Done():
			}
			continue
		}
		delay = 0
		k.take(c)
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func (k *socket) take(raw net.Conn) {
	l := k.live.Load()
	if limit := l.Limits.Connections; limit > 0 && k.open.Load() >= int64(limit) {
		_ = raw.Close() // the client sees it, and a balancer asks elsewhere
		k.refused.Add(1)
		k.overrun(l)
		return
	}
	k.open.Add(1)
	c := &conn{Conn: raw}
	c.closed = func() {
		k.open.Add(-1)
		k.server.census.remove(c)
	}
	var nc net.Conn = c
	if l.ProxyProtocol && l.trusts(peerAddr(raw.RemoteAddr().String())) {
		nc = &proxied{conn: c, timeout: l.Limits.HeaderTimeout}
	}
	if l.tls != nil {
		nc = tls.Server(nc, l.tls)
	}
	k.server.census.add(c, nc)
	for !l.conns.offer(nc) { // replaced at this very moment
		next := k.live.Load()
		if next.conns == l.conns {
			_ = nc.Close()
			return
		}
		l = next
	}
}

// handshakes is how long an address that is closed still waits for connections whose
// handshake is under way. A client that is further away is told to try again.
// Who waits to be accepted is accepted, within the time for that.
const (
	handshakes = 50 * time.Millisecond
	accepting  = 2 * time.Second
)

// close stops taking connections. Those that the kernel has completed already, and
// whose requests may be under way, are still served.
func (k *socket) close() {
	if t, ok := k.ln.(*net.TCPListener); ok {
		if refuseHandshakes(t) {
			k.last.Store(time.Now().Add(accepting).UnixNano())
		}
		if t.SetDeadline(time.Now().Add(handshakes)) == nil {
			return // accept ends by the deadline, and closes the address
		}
	}
	_ = k.ln.Close()
}

// more reports whether connections wait to be accepted after the time for it was
// over, as long as an end is to be seen, and makes time for them.
func (k *socket) more() bool {
	t, ok := k.ln.(*net.TCPListener)
	return ok && time.Now().UnixNano() < k.last.Load() && waiting(t) && t.SetDeadline(time.Now().Add(handshakes)) == nil
}

// finishAccepting waits until the last connection has been handed over and the
// address is free again.
func (k *socket) finishAccepting() { k.taking.Wait() }

// spent reports whether a closed address has served its last connection.
func (k *socket) spent() bool {
	if k.open.Load() > 0 {
		return false
	}
	l := k.live.Load()
	l.engine.replaced.Store(true)
	_ = l.engine.Close() // it serves nothing
	k.finish()
	return true
}

// stopWatch ends the watch over the certificates in force. Connections keep them.
func (k *socket) stopWatch() {
	if l := k.live.Load(); l != nil && l.TLS != nil {
		l.TLS.stop()
	}
}

// finish waits for the engines, after they were told to stop.
func (k *socket) finish() { k.wg.Wait() }

// A conn is counted until it is closed, and knows how far its requests are.
type conn struct {
	net.Conn
	progress
	spoke, h2 atomic.Bool
	once      sync.Once
	closed    func()
}

// Read reads what the client sends.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	if now, _ := c.load(); now == fresh {
		c.begins(p[:n])
	}
	if !c.came() {
		return 0, net.ErrClosed
	}
	return n, err
}

// preface is how a connection of HTTP/2 begins, RFC 9113 section 3.4, as far as no
// request of HTTP/1.1 does.
var preface = []byte("PRI ")

// begins takes note of the first bytes that a client says.
func (c *conn) begins(p []byte) {
	if bytes.HasPrefix(p, preface) {
		c.h2.Store(true)
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

// Bare is the connection beneath, which is read and written in the same way, but for
// being followed: see [connections].
func (c *conn) Bare() net.Conn { return c.Conn }

// CloseWrite ends our side of the connection only.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}
