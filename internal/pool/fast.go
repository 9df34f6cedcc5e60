package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/h1"
	"github.com/airside-gateway/airside/proto/web"
)

// errSpeaksH2 says that the agent chose HTTP/2 in the handshake.
var errSpeaksH2 = errors.New("pool: the agent chose HTTP/2")

// fast is the engine of our own, for HTTP/1.1. Where the handshake may choose HTTP/2, it
// hands the connection to the engine on net/http, which serves from then on, until it
// finds that the agent has chosen otherwise.
type fast struct {
	main, upgrades *h1.Client // the same, unless main may find HTTP/2
	std            *std
	trips          crowd
}

// newFast returns the engine for an address, nil if it is one for net/http alone.
func newFast(address *url.URL, l Link, s *std) *fast {
	if l.Engine == EngineStd || l.Protocol == H2 || l.Protocol == H2C || !plainHost(address.Host) {
		return nil
	}
	f := &fast{std: s}
	d := newDialer(l)
	if address.Scheme == "http" {
		addr := withPort(address, "80")
		f.main = f.open(l, func(ctx context.Context) (net.Conn, error) { return d.plain(ctx, "tcp", addr) })
		f.upgrades = f.main
		return f
	}
	f.main = f.secure(address, l, d, l.Protocol == Auto)
	f.upgrades = f.main
	if l.Protocol == Auto {
		f.upgrades = f.secure(address, l, d, false)
	}
	return f
}

func (f *fast) open(l Link, dial func(context.Context) (net.Conn, error)) *h1.Client {
	return h1.New(h1.Settings{
		Dial: dial, MaxIdle: l.MaxIdle, Idle: l.Idle, MaxHead: maxHead, Poison: l.Poison,
		Go: func(run func()) {
			f.trips.enter()
			go func() {
				defer f.trips.leave()
				run()
			}()
		},
	})
}

func (f *fast) secure(address *url.URL, l Link, d *dialer, http2 bool) *h1.Client {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetHTTP2(http2)
	cfg, addr := tlsFor(address, l, p), withPort(address, "443")
	return f.open(l, func(ctx context.Context) (net.Conn, error) {
		c, err := d.secure(ctx, "tcp", addr, cfg)
		if err != nil {
			return nil, err
		}
		if c.ConnectionState().NegotiatedProtocol == H2 {
			f.std.offer(c)
			return nil, errSpeaksH2
		}
		return c, nil
	})
}

// plainHost reports whether a host is written as it goes into a request. Those that
// are not, names in other scripts and addresses with zones, are for net/http.
func plainHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || c == '%' {
			return false
		}
	}
	return true
}

// withPort is the address to dial.
func withPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// client is what sends a request; nil if that is net/http.
func (f *fast) client(upgrade bool) *h1.Client {
	switch {
	case f == nil:
		return nil
	case upgrade:
		return f.upgrades
	case f.std.http2.Load():
		return nil
	}
	return f.main
}

// shut closes idle connections, and wait waits for what is sent still.
func (f *fast) shut() {
	if f != nil {
		f.main.Close()
		f.upgrades.Close()
	}
}

func (f *fast) wait() {
	if f != nil {
		f.trips.wait(closeWait)
	}
}

// runFast is run by the engine of our own.
func (t *try) runFast(m *member, c *h1.Client, wants string, end time.Time) (*http.Response, error) {
	t.watch.start(t.pool.limits, end, t.cancels)
	t.x.AfterDone(t)
	t.attach()
	err := t.fill(m, wants)
	if err != nil {
		t.end()
		return nil, err
	}
	a := &t.got
	if err := c.Do(t.parent, &t.trip, &t.request, &a.Answer); err != nil {
		if errors.Is(err, errSpeaksH2) && !t.short.touched() {
			t.watch.stop()
			t.detach()
			t.held = true
			return nil, errSpeaksH2
		}
		err = t.fault(t.sort(err))
		t.lost(err)
		t.end()
		return nil, err
	}
	return t.fastAnswer(a, wants)
}

// fill makes what is sent to m out of the request of the exchange.
func (t *try) fill(m *member, wants string) error {
	in := t.x.Request
	r := &t.request
	r.Method, r.Host = in.Method, t.pool.hostFor(m, in)
	r.Prefix, r.Path = m.prefix(in.URL)
	r.Query, r.HasQuery = in.URL.RawQuery, in.URL.RawQuery != "" || in.URL.ForceQuery
	r.Header, r.Drop, r.Upgrade, r.Trailers = in.Header, dropped, wants, wantsTrailers(in.Header)
	r.Repeatable = Repeatable(in)
	r.Inform, r.Replay = t.informs, t.replays
	if t.span.Exists() {
		t.context()
	}
	if in.Body == nil || in.Body == http.NoBody || in.ContentLength == 0 {
		return nil
	}
	r.Length = in.ContentLength
	if len(in.Trailer) > 0 {
		announced, err := announce(in, func(name string) bool { return hasName(in.Header, name, dropped) })
		if err != nil {
			return err
		}
		r.Trailer, r.Length, t.trailed = announced, -1, true
	}
	r.Expect = expects(in.Header)
	if b, ok := in.Body.(interface{ Buffered() int }); ok && !r.Expect && r.Length >= 0 && r.Length <= min(h1.ShortBody, int64(b.Buffered())) {
		t.x.Spare()
		t.short.init(t, r.Length, nil)
		r.Body = &t.short
		return nil
	}
	if r.Repeatable {
		t.x.KeepBody(keptBody)
	}
	t.held = true // by who sends the body
	t.x.Hold()
	r.Body = t.upload(r.Length, r.Trailer)
	return nil
}

// expects reports whether the client waits for 100 (Continue).
func expects(h http.Header) bool {
	v := h["Expect"]
	return len(v) > 0 && strings.EqualFold(strings.TrimSpace(v[0]), "100-continue")
}

// replay gives the body of the request once more.
func (t *try) replay() (io.Reader, bool) {
	if t.trailed || !t.x.Rewind() { // who sent the body before may still look at the trailers
		return nil, false
	}
	return t.upload(t.request.Length, nil), true
}

// leave ends the try with its exchange.
func (t *try) leave() { t.trip.Cancel(context.Cause(t.parent)) }

// Canceled is leave, for an attacher.
func (t *try) Canceled() { t.trip.Cancel(context.Canceled) }

// An attacher is a context, that of our own server engine, that tells one who is
// attached of its end. That is like [context.AfterFunc], but costs nothing.
type attacher interface {
	Attach(a interface{ Canceled() }) bool
	Detach()
}

// attach makes the try end with its exchange.
func (t *try) attach() {
	if a, ok := t.parent.(attacher); ok && a.Attach(t) {
		t.attached = a
		return
	}
	if t.parent.Done() != nil {
		t.parting = context.AfterFunc(t.parent, t.leaves)
	}
}

// detach ends that, and reports whether leave is not called any more.
func (t *try) detach() bool {
	if t.attached != nil {
		t.attached.Detach()
		t.attached = nil
	}
	stop := t.parting
	t.parting = nil
	return stop == nil || stop()
}

// sort finds out what kind of failure an error of the engine is. What is none is
// returned as it is.
func (t *try) sort(err error) error {
	e, ok := errors.AsType[*h1.Error](err)
	if !ok {
		return err
	}
	if f, ok := errors.AsType[*failure](e.Err); ok {
		g := *f
		g.sent = e.Sent
		return &g
	}
	f := &failure{sent: e.Sent, err: e.Err}
	switch e.Kind {
	case h1.Dial, h1.Closed:
		f.kind = unreachable
	case h1.Broke:
		if f.kind = broke; refusedTLS(e.Err) {
			f.kind = handshake
		}
	case h1.Malformed, h1.Refused:
		f.kind = malformed
	case h1.TooLarge:
		f.kind = headTooLarge
	case h1.Unasked:
		f.kind = unasked
	case h1.Cut:
		f.kind = cut
	case h1.Invalid, h1.Body, h1.Canceled:
		return err
	}
	return f
}

// An answer is that of the engine of our own, and its body on the way to the client.
type answer struct {
	h1.Answer
	try    *try
	body   io.ReadCloser
	err    error // how it ended
	closed bool
}

// fastAnswer makes an answer ready to be passed on.
func (t *try) fastAnswer(a *answer, wants string) (*http.Response, error) {
	resp := &a.Response
	now := t.heard(resp.StatusCode)
	resp.Request, resp.Close = t.x.Request, false
	if resp.StatusCode == http.StatusSwitchingProtocols {
		t.held = true
		if err := t.switched(resp, wants); err != nil {
			t.end()
			_ = resp.Body.Close()
			return nil, err
		}
		return resp, nil
	}
	if resp.StatusCode > 999 {
		failed := t.blame(&failure{kind: malformed, sent: true, err: errStatus})
		t.trip.Cancel(errStatus) // its connection must not be used again
		_ = resp.Body.Close()
		t.end()
		return nil, failed
	}
	t.headed(resp)
	if a.HopByHop {
		strip(resp.Header)
	}
	if resp.StatusCode == http.StatusNoContent {
		delete(resp.Header, "Content-Length") // RFC 9110 section 8.6
	}
	if resp.Body == http.NoBody {
		t.whole()
		t.end()
		return resp, nil
	}
	t.watch.answered(now, web.EventStream(resp.Header))
	a.try, a.body = t, resp.Body
	a.Watch(&t.watch)
	resp.Body = a
	return resp, nil
}

// Read reads what the agent sends. Its errors are io.EOF or an [airside.Error].
func (a *answer) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.body.Read(p)
	if err != nil {
		a.ended(err)
	}
	return n, a.err
}

// Buffered is how much can be read without waiting.
func (a *answer) Buffered() int {
	if b, ok := a.body.(interface{ Buffered() int }); ok && a.err == nil {
		return b.Buffered()
	}
	return 0
}

// WriteTo writes what the agent sends to w, as it comes. Its errors are those of w, or
// an [airside.Error].
func (a *answer) WriteTo(w io.Writer) (int64, error) {
	if a.err != nil {
		return 0, notEOF(a.err)
	}
	to, ok := a.body.(io.WriterTo)
	if !ok {
		return 0, errOver
	}
	n, err := to.WriteTo(w)
	if _, agent := errors.AsType[*h1.Error](err); err != nil && !agent {
		return n, err
	}
	if err == nil {
		err = io.EOF
	}
	a.ended(err)
	return n, notEOF(a.err)
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (a *answer) ended(err error) {
	if errors.Is(err, io.EOF) {
		a.err = io.EOF
		a.try.whole()
		dropTrailers(a.Trailer)
	} else {
		a.err = a.try.broken(err)
	}
	a.try.end()
}

// Close gives the answer up if it has not ended. What is left of a short one is read if
// it is there already.
func (a *answer) Close() error {
	t := a.try
	if t == nil || a.closed {
		return nil
	}
	a.closed = true
	if a.err == nil {
		a.err = closedAnswer()
	}
	_ = a.body.Close() // if it was cut, that was on purpose
	t.end()
	return nil
}

// tries are those that can be used again. They are not in a [sync.Pool]: each has a
// timer that may be running, and a collected one would stay until it rings.
type tries struct {
	mu   sync.Mutex
	free []*try
}

// maxTries bounds how many are kept.
const maxTries = 1024

func (p *Pool) newTry() *try {
	p.tries.mu.Lock()
	if n := len(p.tries.free); n > 0 {
		t := p.tries.free[n-1]
		p.tries.free[n-1] = nil
		p.tries.free = p.tries.free[:n-1]
		p.tries.mu.Unlock()
		return t
	}
	p.tries.mu.Unlock()
	t := &try{pool: p}
	t.leaves, t.cancels, t.informs, t.replays = t.leave, t.trip.Cancel, t.inform, t.replay
	return t
}

// Release keeps t for another exchange, unless somebody may still know it. It comes when
// the exchange of t is over for everybody.
func (t *try) Release() {
	if !t.over.Load() { // nobody has closed the answer: a policy has panicked
		t.held = true
		if t.got.try != nil {
			_ = t.got.Close() // there is nobody to tell
		}
		t.end()
	}
	if t.held || t.ctx != nil {
		t.watch.drop()
		return
	}
	t.got.Recycle()
	t.got = answer{}
	t.span = airside.Span{}
	t.x, t.parent, t.endpoint, t.parting, t.wellness = nil, nil, nil, nil, nil
	t.method, t.interim, t.trailed, t.request = "", 0, false, h1.Request{}
	t.short.forget()
	t.misfit.Store(false)
	t.over.Store(false)
	t.trip.Reset()
	p := t.pool
	p.tries.mu.Lock()
	defer p.tries.mu.Unlock()
	if len(p.tries.free) >= maxTries {
		t.watch.drop()
		return
	}
	p.tries.free = append(p.tries.free, t)
}
