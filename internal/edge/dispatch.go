package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/airside-gateway/airside/internal/edge/h2"
)

// A front is the engine of a socket: it finds out which version of HTTP a connection
// speaks, by ALPN where there is TLS, by its first bytes where there is not, and hands
// it to the engine for that version. A client has the time of a request's head to make
// it known, the TLS handshake included.
type front struct {
	h1, h2 *lane // nil where the listener does not speak it
	limits Limits
	hook   func(net.Conn, http.ConnState)
	log    *slog.Logger
	count  func() // a client that was cut off for a flood
	prompt bool   // the engine for HTTP/2 gathers what it writes

	settled chan struct{} // closed when every connection has an engine, and none will come

	mu      sync.Mutex
	ln      net.Listener
	pending map[net.Conn]struct{} // with no engine yet
	closed  bool
}

// A lane leads to the engine for one version of HTTP.
type lane struct {
	engine

	conns *handOver
}

// newbornGrace is how long connections that have no engine yet may hold up a
// shutdown. It is that of [http.Server] for connections without a request.
const newbornGrace = 5 * time.Second

var errNoVersion = errors.New("edge: the client speaks no version of HTTP that is served here")

// Serve gives the connections of ln to the engines, until it is closed and every
// connection has one.
func (f *front) Serve(ln net.Listener) error {
	f.mu.Lock()
	f.ln = ln
	closed := f.closed
	f.mu.Unlock()
	if closed {
		_ = ln.Close()
	}
	var engines, newborn sync.WaitGroup
	for _, to := range f.lanes() {
		engines.Go(func() {
			defer func() { _ = to.conns.Close() }()
			if err := to.Serve(to.conns); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				f.log.LogAttrs(context.Background(), slog.LevelError, "an engine stopped", slog.Any("err", err))
			}
		})
	}
	var err error
	for {
		var c net.Conn
		if c, err = ln.Accept(); err != nil {
			break
		}
		f.take(c, &newborn)
	}
	newborn.Wait()
	close(f.settled)
	for _, to := range f.lanes() {
		_ = to.conns.Close()
	}
	engines.Wait()
	return err
}

func (f *front) lanes() []*lane {
	var ls []*lane
	for _, to := range []*lane{f.h1, f.h2} {
		if to != nil {
			ls = append(ls, to)
		}
	}
	return ls
}

// take counts c, and hands it on, at once where nothing needs to be found out.
func (f *front) take(c net.Conn, newborn *sync.WaitGroup) {
	f.hook(c, http.StateNew)
	if _, encrypted := c.(*tls.Conn); !encrypted && f.h2 == nil {
		f.pass(f.h1, c)
		return
	}
	f.mu.Lock()
	f.pending[c] = struct{}{}
	f.mu.Unlock()
	accepted := time.Now()
	newborn.Go(func() {
		to, ready, err := f.sort(c, accepted)
		f.mu.Lock()
		delete(f.pending, c)
		f.mu.Unlock()
		if err != nil {
			f.log.LogAttrs(context.Background(), slog.LevelDebug, "a connection came to nothing", slog.String("client", c.RemoteAddr().String()), slog.Any("err", err))
			f.drop(c)
			return
		}
		f.pass(to, ready)
	})
}

// pass hands c to an engine, which tells the hook from now on what becomes of it.
func (f *front) pass(to *lane, c net.Conn) {
	if !to.conns.offer(c) {
		f.drop(c)
	}
}

func (f *front) drop(c net.Conn) {
	_ = c.Close() // there is nobody to tell
	f.hook(c, http.StateClosed)
}

// relay tells the hook what an engine says of its connections. That they are new it
// knows.
func (f *front) relay(c net.Conn, state http.ConnState) {
	if state != http.StateNew {
		f.hook(c, state)
	}
}

// sort finds the engine for c. What it returns besides is what the engine is to
// serve.
func (f *front) sort(c net.Conn, accepted time.Time) (*lane, net.Conn, error) {
	_ = c.RemoteAddr() // reads a PROXY line, whose deadline must not be taken for ours
	if d := f.limits.HeaderTimeout; d > 0 {
		_ = c.SetDeadline(accepted.Add(d)) // on a connection that has failed the next read says so
	}
	version, c, err := f.version(c)
	if err != nil {
		return nil, nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	switch {
	case version == 2 && f.h2 != nil:
		return f.h2, f.guard(c, accepted), nil
	case version == 1 && f.h1 != nil:
		return f.h1, c, nil
	}
	return nil, nil, errNoVersion
}

func (f *front) version(c net.Conn) (int, net.Conn, error) {
	if t, ok := c.(*tls.Conn); ok {
		v, err := negotiate(t)
		return v, c, err
	}
	return sniff(c)
}

// guard has c watched for floods.
func (f *front) guard(c net.Conn, accepted time.Time) net.Conn {
	limits := h2.Limits{Head: f.limits.Headers, Time: f.limits.HeaderTimeout, Prompt: f.prompt}
	return h2.Guard(c, accepted, limits, func(b h2.Breach) {
		f.count()
		f.log.LogAttrs(context.Background(), slog.LevelDebug, "a connection was cut off", slog.String("client", c.RemoteAddr().String()), slog.Any("err", b))
	})
}

// negotiate shakes hands, and returns the version of HTTP that was agreed on.
func negotiate(t *tls.Conn) (int, error) {
	if err := t.HandshakeContext(context.Background()); err != nil { // ends by the deadline, or when the connection is closed
		if re, ok := errors.AsType[tls.RecordHeaderError](err); ok && re.Conn != nil && likeHTTP(re.RecordHeader) {
			_, _ = io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nthis address speaks https: use https:// in place of http://\n")
		}
		return 0, err
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		return 2, nil
	}
	return 1, nil
}

// likeHTTP reports whether what came in place of a TLS record is a request in the
// clear.
func likeHTTP(head [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"} {
		if strings.HasPrefix(method, string(head[:])) {
			return true
		}
	}
	return false
}

// sniff reads as much of c as tells the version of HTTP. The connection that it
// returns has it all.
func sniff(c net.Conn) (int, net.Conn, error) {
	s := &sniffed{Conn: c}
	for n := 0; ; {
		m, err := c.Read(s.head[n:])
		n += m
		s.ahead = s.head[:n]
		switch {
		case !bytes.HasPrefix([]byte(h2.Preface), s.ahead):
			return 1, s, nil
		case n == len(s.head):
			return 2, s, nil
		case err != nil:
			return 0, nil, err
		}
	}
}

// A sniffed connection gives back first what was read of it.
type sniffed struct {
	net.Conn

	head  [len(h2.Preface)]byte
	ahead []byte // of head
}

// Read reads first what is ahead, and together with that what else has come: net/http
// refuses a request by what it has got, and if that is not all that there is, closing the
// connection resets it, and the client never gets to read why.
func (s *sniffed) Read(p []byte) (int, error) {
	if len(s.ahead) == 0 {
		return s.Conn.Read(p)
	}
	n := copy(p, s.ahead)
	s.ahead = s.ahead[n:]
	if c := base(s.Conn); n == len(p) || c == nil || !c.waiting() {
		return n, nil
	}
	m, err := s.Conn.Read(p[n:])
	return n + m, err
}

// Unread is the connection beneath, and what was read of it.
func (s *sniffed) Unread() (net.Conn, []byte) { return s.Conn, s.ahead }

// NetConn is the connection beneath. What was read ahead is not on it any more.
func (s *sniffed) NetConn() net.Conn { return s.Conn }

// CloseWrite ends our side of the connection only.
func (s *sniffed) CloseWrite() error {
	if h, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return s.Close()
}

// Shutdown lets what is under way end, on connections without an engine too.
func (f *front) Shutdown(ctx context.Context) error {
	f.stop()
	timer := time.AfterFunc(newbornGrace, f.abandon)
	defer timer.Stop()
	select {
	case <-f.settled:
	case <-ctx.Done():
		f.abandon()
	}
	var all sync.WaitGroup
	ls := f.lanes()
	errs := make([]error, len(ls))
	for i, to := range ls {
		all.Go(func() { errs[i] = to.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close ends everything at once.
func (f *front) Close() error {
	f.stop()
	f.abandon()
	var errs []error
	for _, to := range f.lanes() {
		errs = append(errs, to.Close())
	}
	return errors.Join(errs...)
}

// stop takes no connections any more.
func (f *front) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.ln != nil {
		_ = f.ln.Close() // a handOver
	}
}

// abandon closes the connections that have no engine yet.
func (f *front) abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.pending {
		_ = c.Close() // there is nobody to tell
	}
}
