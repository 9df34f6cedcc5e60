package edge

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/edge/h2"
)

// An engine serves connections. Shutdown stops it when what is under way has
// ended, Close at once. *http.Server is one.
type engine interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// Bounds of HTTP/2, as RFC 9113 section 10.5 asks for. ADR 20 has the reasons.
const (
	streamsPerConn = 100
	frameSize      = 16 << 10
	streamWindow   = 256 << 10 // of a body that waits for the agent
	connWindow     = 1 << 20   // of all that wait: one that does not move must not stop the others

	pingAfter   = time.Minute // of silence
	pingTimeout = 15 * time.Second
)

// newEngine returns the engine for l: for each version of HTTP one, and a front
// before them.
func (k *socket) newEngine(l *Listener) *running {
	r := &running{}
	f := &front{
		limits: l.Limits, log: k.server.Log, pending: map[net.Conn]struct{}{}, settled: make(chan struct{}), prompt: !l.Standard,
		count: func() { k.server.engines.breaches.Add(1) },
		hook: func(c net.Conn, state http.ConnState) {
			r.count(state)
			k.server.census.change(c, state)
		},
	}
	if l.HTTP1 {
		f.h1 = &lane{engine: k.newHTTP1(l, f.relay), conns: newHandOver(k.ln.Addr())}
	}
	if l.HTTP2 {
		f.h2 = &lane{engine: k.newHTTP2(l, f.relay), conns: newHandOver(k.ln.Addr())}
	}
	r.engine = f
	return r
}

// newHTTP1 returns the engine for HTTP/1.1. Its connections may be of TLS, with the
// handshake done. It tells state what becomes of them.
func (k *socket) newHTTP1(l *Listener, state func(net.Conn, http.ConnState)) engine {
	if !l.Standard {
		return k.newFast(l, state)
	}
	srv := k.newStandard(l, state)
	srv.Protocols.SetHTTP1(true)
	return srv
}

// newHTTP2 returns the engine for HTTP/2. Its connections are guarded; for net/http
// all of them are unencrypted, but it asks those that can tell for their TLS state.
func (k *socket) newHTTP2(l *Listener, state func(net.Conn, http.ConnState)) engine {
	if !l.Standard {
		return k.newFastHTTP2(l, state)
	}
	srv := k.newStandard(l, state)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.ConnContext = h2.WithConn
	srv.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          streamsPerConn,
		MaxReadFrameSize:              frameSize,
		MaxReceiveBufferPerStream:     streamWindow,
		MaxReceiveBufferPerConnection: connWindow,
		SendPingTimeout:               pingAfter,
		PingTimeout:                   pingTimeout,
		WriteByteTimeout:              l.Limits.WriteTimeout,
	}
	return srv
}

// newStandard returns a server of net/http that speaks nothing yet.
func (k *socket) newStandard(l *Listener, state func(net.Conn, http.ConnState)) *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(k.serveHTTP),
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
		ReadHeaderTimeout:            l.Limits.HeaderTimeout,
		IdleTimeout:                  l.Limits.Idle,
		MaxHeaderBytes:               l.Limits.Headers,
		BaseContext:                  func(net.Listener) context.Context { return k.server.ctx },
		ConnState:                    state,
		ErrorLog:                     slog.NewLogLogger(k.server.Log.Handler(), slog.LevelDebug), // a client's broken connection is not our error
	}
}

func (k *socket) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		defer requestOf(r)()
	}
	k.server.serve(k.live.Load().Listener, w, r)
}

// requestOf notes on the connection of r that a request has come. What it returns
// notes that it was answered, if it was. It gives r the TLS state of the connection:
// net/http does so only if the client calls the scheme https, and what is encrypted
// is not for the client to say.
func requestOf(r *http.Request) (answered func()) {
	c, state := h2.Of(r.Context())
	if c == nil {
		return func() {}
	}
	r.TLS = state
	c.Reached()
	ctx := r.Context()
	return func() {
		if ctx.Err() == nil {
			c.Answered()
		}
	}
}

// A handOver is the listener that an engine sees: it gives out the connections
// that the socket accepted.
type handOver struct {
	addr net.Addr
	ch   chan net.Conn
	once sync.Once
	done chan struct{}
}

func newHandOver(addr net.Addr) *handOver {
	return &handOver{addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
}

// offer hands c over, or reports that nobody takes it any more.
func (h *handOver) offer(c net.Conn) bool {
	select {
	case h.ch <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handOver) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handOver) Addr() net.Addr { return h.addr }

// engines are all that still serve connections, those replaced included.
type engines struct {
	breaches atomic.Int64 // connections that were cut off for a flood

	mu   sync.Mutex
	list []*running
}

// A running engine knows how many connections it serves.
type running struct {
	engine
	open     atomic.Int64
	replaced atomic.Bool // it gets no more connections
}

func (r *running) count(state http.ConnState) {
	switch state {
	case http.StateNew:
		r.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		r.open.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// add takes e among the engines, and forgets those that have nothing left to do.
func (s *engines) add(e *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(r *running) bool { return r.replaced.Load() && r.open.Load() == 0 })
	s.list = append(s.list, e)
}

func (s *engines) all() []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// shutdown stops all engines when what is under way has ended; what has not by the
// end of ctx is cut.
func (s *engines) shutdown(ctx context.Context, lg *slog.Logger) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, e := range s.all() {
		wg.Go(func() {
			err := e.Shutdown(ctx)
			if err == nil {
				return
			}
			lg.LogAttrs(context.Background(), slog.LevelWarn, "cutting what did not end in time", slog.Any("err", err))
			_ = e.Close() // Shutdown's error says it all
			mu.Lock()
			defer mu.Unlock()
			first = err
		})
	}
	wg.Wait()
	return first
}

// A census counts open connections, so that a drain can tell when all have gone.
type census struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n is 0, if somebody waits
}

func (c *census) change(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.n++
	case http.StateClosed, http.StateHijacked:
		c.n--
	case http.StateActive, http.StateIdle:
	}
	if c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// gone returns a channel that is closed when no connection is open.
func (c *census) gone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan struct{})
	if c.n == 0 {
		close(ch)
		return ch
	}
	if c.empty == nil {
		c.empty = ch
	}
	return c.empty
}
