package pool

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"
)

// A body is a request body on its way.
type body = io.ReadCloser

// When Transport finds that an idle connection was closed, it tries the next. After
// staleConns of them none is trusted, and after maxConns it is not the connections:
// the agent breaks off on this request, and is not to be sent it once more.
const (
	staleConns = 3
	maxConns   = 5
)

// How long Transport may take to return after its connection was closed while it was
// reading the body: a read ends at once unless the client has stopped sending. An
// answer that had begun gets more time, for it may be complete.
const (
	patience = 100 * time.Millisecond
	grace    = time.Second
)

var (
	errLost  = errors.New("pool: the connection was closed")
	errOver  = errors.New("pool: the exchange is over")
	errStale = errors.New("pool: one connection after another was closed")
	errOnce  = errors.New("pool: the request body cannot be sent a second time")
)

// A trip is one request in the hands of [http.Transport]. It mends what Transport
// lacks for a gateway:
//
//   - Transport does not return while it waits for the request body, whatever has
//     become of the connection or the context. So a request with a body travels in
//     a goroutine of its own, which is left behind if need be.
//   - Transport does not say whether anything was sent. The connections count.
//   - After an answer that came instead of a 100 (Continue), Transport sends the
//     body all the same, for the sake of the connection, and by reading it would
//     have the client asked for it. Such a read is held until the exchange ends.
type trip struct {
	ctx   context.Context
	call  call
	stale func()        // closes idle connections
	done  chan arrival  // has room for one
	gone  chan struct{} // has room for one: the connection is lost and the body blocks
	wake  chan struct{} // closed when a held read may go on

	informing sync.Mutex // held while the client is informed

	mu        sync.Mutex // guards what follows
	conn      *conn      // HTTP/1.1 connection in use
	mark      int64      // what it had written before
	conns     int        // how many connections were tried
	got       bool       // there was a connection
	sent      bool       // something was sent on an earlier one
	dead      bool       // the connection was closed
	shut      bool       // the body was closed while it was read
	reading   int        // reads of the body that are under way
	expects   bool       // the client waits for 100 (Continue)
	first     bool       // an answer has begun
	woken     bool       // wake is closed
	over      bool       // the answer was handed over, or the trip given up
	abandoned bool       // nobody waits for the answer
}

// An arrival is what Transport returned.
type arrival struct {
	resp *http.Response
	err  error
}

func newTrip(ctx context.Context, r *http.Request, c call) *trip {
	t := &trip{ctx: ctx, call: c}
	if r.Body != nil {
		t.done, t.gone, t.wake = make(chan arrival, 1), make(chan struct{}, 1), make(chan struct{})
		t.expects = r.Header.Get("Expect") != ""
	}
	return t
}

// request prepares r, which is a copy already, for Transport.
func (t *trip) request(r *http.Request) *http.Request {
	r = r.WithContext(httptrace.WithClientTrace(t.ctx, &httptrace.ClientTrace{
		GotConn:              t.gotConn,
		GotFirstResponseByte: t.gotFirstByte,
		Got100Continue:       t.release,
		Got1xxResponse:       t.got1xx,
	}))
	if r.Body != nil {
		r.Body = &gate{trip: t, body: r.Body}
		r.GetBody = t.again
	}
	return r
}

// again makes the body once more, for a connection that had been closed while it
// was idle.
func (t *trip) again() (io.ReadCloser, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return nil, errOver
	}
	b, ok := t.call.rewind()
	if !ok {
		return nil, errOnce
	}
	return &gate{trip: t, body: b}, nil
}

func (t *trip) gotConn(info httptrace.GotConnInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = t.sentLocked()
	t.got, t.dead, t.shut, t.first = true, false, false, false
	t.conn = connOf(info.Conn)
	if t.conn == nil {
		return
	}
	t.mark = t.conn.written.Load()
	t.conn.user.Store(t)
	t.dead = t.conn.isClosed()
	switch t.conns++; {
	case t.conns == staleConns:
		t.stale()
	case t.conns > maxConns:
		t.call.abort(&failure{kind: broke, sent: true, err: errStale})
	}
}

// sentLocked reports whether a byte of the request may have reached the agent. Of
// HTTP/2 it is not known. It is called with mu held.
func (t *trip) sentLocked() bool {
	if t.conn == nil {
		return t.got || t.sent
	}
	return t.sent || t.conn.written.Load() > t.mark
}

func (t *trip) gotFirstByte() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first = true
}

func (t *trip) got1xx(status int, h textproto.MIMEHeader) error {
	t.release()
	if status == http.StatusContinue {
		return nil
	}
	t.informing.Lock()
	defer t.informing.Unlock()
	t.mu.Lock()
	over := t.over
	t.mu.Unlock()
	if over {
		return errOver
	}
	return t.call.inform(status, http.Header(h))
}

// release lets a held read go on.
func (t *trip) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releaseLocked()
}

func (t *trip) releaseLocked() {
	t.expects = false
	if t.wake != nil && !t.woken {
		t.woken = true
		close(t.wake)
	}
}

// lost is told by a connection that it is closed.
func (t *trip) lost(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c != t.conn {
		return
	}
	t.dead = true
	t.alarmLocked()
	t.releaseLocked()
}

// alarmLocked tells who waits that Transport may be unable to return, because it reads
// the body. It is called with mu held.
func (t *trip) alarmLocked() {
	if t.reading == 0 {
		return
	}
	select {
	case t.gone <- struct{}{}:
	default:
	}
}

// deliver hands over what Transport returned, or drops it if nobody waits.
func (t *trip) deliver(resp *http.Response, err error) {
	t.mu.Lock()
	late := t.abandoned
	if !late {
		t.done <- arrival{resp, err} // there is room for the one
	}
	t.mu.Unlock()
	if late {
		drop(resp)
	}
}

// abandon leaves Transport to itself.
func (t *trip) abandon() {
	t.mu.Lock()
	t.abandoned, t.over = true, true
	t.releaseLocked()
	var a arrival
	select {
	case a = <-t.done:
	default:
	}
	t.mu.Unlock()
	drop(a.resp)
}

// drop closes an answer. It is not called with t.mu held, which closing may ask for.
func drop(resp *http.Response) {
	if resp != nil {
		_ = resp.Body.Close() // nobody wants it
	}
}

// await waits for Transport, as long as it makes sense.
func (t *trip) await() (*http.Response, error) {
	for {
		select {
		case a := <-t.done:
			return t.settle(a.resp, a.err)
		case <-t.ctx.Done():
			return t.giveUp(context.Cause(t.ctx))
		case <-t.gone:
		}
		timer := time.NewTimer(t.patience())
		select {
		case a := <-t.done:
			timer.Stop()
			return t.settle(a.resp, a.err)
		case <-t.ctx.Done():
			timer.Stop()
			return t.giveUp(context.Cause(t.ctx))
		case <-timer.C:
		}
		if t.stuck() {
			return t.giveUp(t.why())
		}
	}
}

func (t *trip) patience() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first {
		return grace
	}
	return patience
}

// stuck reports whether Transport waits for the body alone.
func (t *trip) stuck() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return (t.dead || t.shut) && t.reading > 0
}

// why is what became of the connection.
func (t *trip) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		if err := t.conn.failed.Load(); err != nil {
			return *err
		}
	}
	return errLost
}

func (t *trip) giveUp(cause error) (*http.Response, error) {
	t.abandon()
	return t.settle(nil, cause)
}

// settle ends the trip. The body, if it is being sent, goes on.
func (t *trip) settle(resp *http.Response, err error) (*http.Response, error) {
	t.informing.Lock() // nobody is being informed any more
	t.mu.Lock()
	t.over = true
	c := t.conn
	t.mu.Unlock()
	t.informing.Unlock()
	if c != nil {
		c.user.CompareAndSwap(t, nil)
	}
	switch {
	case err != nil && t.ctx.Err() != nil:
		return nil, t.sort(context.Cause(t.ctx)) // HTTP/2 does not say the cause
	case err != nil:
		return nil, t.sort(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && c != nil {
		c.upgrade.Store(true)
	}
	return resp, nil
}

// A gate is a request body as Transport reads it.
type gate struct {
	trip *trip
	body body
}

func (g *gate) Read(p []byte) (int, error) {
	if err := g.trip.enter(); err != nil {
		return 0, err
	}
	n, err := g.body.Read(p)
	g.trip.mu.Lock()
	defer g.trip.mu.Unlock()
	g.trip.reading--
	return n, err
}

// enter begins a read of the body, or holds it, or refuses it.
//
// On a connection that is closed a read says that the body has ended. An error would
// make Transport blame the body, and not look whether the request can be sent over
// another connection; and nothing that it takes for the end can get out.
func (t *trip) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refusalLocked(); err != nil {
		return err
	}
	if !t.expects || !t.first {
		t.expects = false // what comes from now on answers what is being sent
		t.reading++
		return nil
	}
	t.reading++
	t.mu.Unlock()
	select {
	case <-t.wake:
	case <-t.ctx.Done():
	}
	t.mu.Lock()
	err := t.refusalLocked()
	if err != nil {
		t.reading--
	}
	return err
}

func (t *trip) refusalLocked() error {
	switch {
	case t.abandoned, t.shut, t.ctx.Err() != nil:
		return errLost
	case t.dead:
		return io.EOF
	}
	return nil
}

// Close closes the body. HTTP/2 does so when the agent resets the stream, even
// while it is being read.
func (g *gate) Close() error {
	err := g.body.Close()
	g.trip.mu.Lock()
	defer g.trip.mu.Unlock()
	if g.trip.reading > 0 {
		g.trip.shut = true
		g.trip.alarmLocked()
	}
	return err
}
