package pool

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/h1"
	"github.com/airside-gateway/airside/internal/pool/health"
	"github.com/airside-gateway/airside/proto/web"
)

// keptBody is how much of the body of a request that may be repeated is kept, for
// the case that an idle connection turns out to be closed.
const keptBody = 64 << 10

// Bounds of 1xx answers to one request: passed on to the client, and borne at all.
const (
	maxInformed = 5
	maxInterim  = 100
)

// A try is one request to one endpoint, from taking a place there to the last byte
// of the answer. It is used again for another: see [try.Release].
type try struct {
	pool     *Pool
	x        *airside.Exchange
	parent   context.Context // of the exchange
	watch    watch
	endpoint *Endpoint
	method   string
	interim  int  // 1xx answers so far
	trailed  bool // the request announces trailers

	// What its end says about the endpoint; see settle.
	wellness *health.Host // or nil
	ticket   health.Ticket
	settled  bool

	// What is recorded of it, and lines of the head that say so.
	span  airside.Span
	lines []byte

	misfit atomic.Bool // the request body was not as long as announced
	over   atomic.Bool

	// For the engine on net/http: the context of the try, which ends with it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// For the engine of our own.
	trip     h1.Trip
	request  h1.Request
	short    upload // the body, if it is sent at once
	got      answer
	attached attacher    // tells of the end of the exchange; or
	parting  func() bool // ends waiting for that
	held     bool        // somebody may know the try when it is over

	// Functions that are made once.
	leaves  func()
	cancels func(error)
	informs func(int, http.Header) error
	replays func() (io.Reader, bool)
}

// run sends the request and returns the answer. The place at the endpoint is given
// back when the answer has ended.
func (t *try) run(m *member, end time.Time) (*http.Response, error) {
	wants := ""
	if asked := t.x.Request.Header["Upgrade"]; len(asked) > 0 {
		wants = strings.Join(asked, ", ")
	}
	if wants != "" {
		if err := m.canUpgrade(); err != nil {
			t.settle(health.Result{})
			t.span.End(err)
			t.endpoint.release()
			t.pool.queue.freed()
			return nil, err
		}
	}
	t.endpoint.stats.Sent()
	if c := m.fast.client(wants != ""); c != nil {
		resp, err := t.runFast(m, c, wants, end)
		if !errors.Is(err, errSpeaksH2) {
			return resp, err
		}
	}
	return t.runStd(m, wants, end)
}

// runStd is run by the engine on net/http.
func (t *try) runStd(m *member, wants string, end time.Time) (resp *http.Response, err error) {
	t.x.AfterDone(t)
	t.x.Hold() // net/http closes the body when it likes
	t.ctx, t.cancel = context.WithCancelCause(t.parent)
	t.watch.start(t.pool.limits, end, t.cancel)
	defer func() {
		if err != nil {
			t.end()
		}
	}()
	r, err := t.pool.request(t.x, m, wants)
	if err != nil {
		return nil, err
	}
	t.span.Inject(r.Header)
	if r.ContentLength != 0 {
		if Repeatable(r) {
			t.x.KeepBody(keptBody)
		}
		r.Body = t.upload(r.ContentLength, r.Trailer)
	}
	t.trailed = len(r.Trailer) > 0
	resp, err = m.engine.RoundTrip(t.ctx, r, call{upgrade: wants != "", inform: t.inform, abort: t.cancel, rewind: func() (body, bool) {
		if t.trailed || !t.x.Rewind() { // who sent the body before may still look at the trailers
			return nil, false
		}
		return t.upload(r.ContentLength, r.Trailer), true
	}})
	if err != nil {
		err = t.fault(err)
		t.lost(err)
		return nil, err
	}
	if err := t.answer(resp, wants); err != nil {
		t.end() // before the body is closed: its connection must not be used again
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// opened awaits the first byte of an answer that is an event stream, where that is
// bounded.
func (t *try) opened(resp *http.Response, err error) (*http.Response, error) {
	if err != nil || t.pool.limits.FirstEvent <= 0 || resp.Body == http.NoBody ||
		resp.StatusCode == http.StatusSwitchingProtocols || !web.EventStream(resp.Header) {
		return resp, err
	}
	if err := peek(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	t.watch.begun()
	return resp, nil
}

// end gives back what the try holds.
func (t *try) end() {
	if !t.over.CompareAndSwap(false, true) {
		return
	}
	t.span.End(nil)
	t.settle(health.Result{})
	t.watch.stop()
	if t.cancel != nil {
		t.watch.drop() // nobody uses it again
		t.cancel(errOver)
	}
	if !t.detach() {
		t.held = true
	}
	t.endpoint.release()
	t.pool.queue.freed()
}

// cause is why the try was ended before its time; nil if it was not.
func (t *try) cause() error {
	if t.ctx != nil {
		return context.Cause(t.ctx)
	}
	return t.trip.Cause()
}

// inform passes a 1xx answer on to the client.
func (t *try) inform(status int, h http.Header) error {
	if t.interim++; t.interim > maxInterim {
		return &failure{kind: malformed, sent: true, err: errInterim}
	}
	if t.span.Exists() {
		t.span.Event("informed", slog.Int("http.response.status_code", status))
	}
	if t.interim > maxInformed || t.x.Inform == nil {
		return nil
	}
	if bad := invalidField(h); bad != nil {
		return bad
	}
	out := maps.Clone(h)
	strip(out)
	delete(out, "Content-Length")
	t.x.Inform(status, out)
	return nil
}

var (
	errInterim = errors.New("pool: more than 100 interim answers")
	errStatus  = errors.New("pool: not a status")
	errField   = errors.New("pool: a header holds control characters")
)

// answer makes resp ready to be passed on.
func (t *try) answer(resp *http.Response, wants string) error {
	if bad := invalidField(resp.Header); bad != nil {
		return t.blame(bad)
	}
	now := t.heard(resp.StatusCode)
	resp.Request, resp.Close, resp.TransferEncoding = t.x.Request, false, nil
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return t.switched(resp, wants)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 999 {
		return t.blame(&failure{kind: malformed, sent: true, err: errStatus})
	}
	t.headed(resp)
	strip(resp.Header)
	if resp.StatusCode == http.StatusNoContent {
		delete(resp.Header, "Content-Length") // RFC 9110 section 8.6
	}
	if t.bodiless(resp) {
		_ = resp.Body.Close() // there is nothing in it
		resp.Body = http.NoBody
		t.whole()
		t.end()
		return nil
	}
	t.watch.answered(now, web.EventStream(resp.Header))
	resp.Body = &reply{try: t, body: resp.Body, resp: resp}
	return nil
}

func (t *try) bodiless(resp *http.Response) bool {
	return t.method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified ||
		resp.ContentLength == 0 && len(resp.Trailer) == 0
}

// strip removes the headers that are about the connection to the agent: the known
// ones, and those that Connection names. (A Connection that says close is removed by
// net/http; what else it names stays.)
func strip(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, k := range hopByHop {
		delete(h, k)
	}
	delete(h, "Alt-Svc") // where else the agent is; to a client the gateway is the origin (RFC 7838 section 2)
}

// invalidField finds control characters in header values (RFC 9110 section 5.5),
// which net/http lets through.
func invalidField(h http.Header) *failure {
	for _, values := range h {
		if slices.ContainsFunc(values, hasControl) {
			return &failure{kind: malformed, sent: true, err: errField}
		}
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// fault phrases why the try failed before its answer began. A fault of the client
// comes first, whatever else happened: it is what made it happen.
func (t *try) fault(err error) error {
	fault := t.phrase(err)
	t.span.Fail(fault)
	return fault
}

func (t *try) phrase(err error) error {
	if e := t.x.BodyErr(); e != nil {
		return clientFault(t.parent, e)
	}
	if t.misfit.Load() {
		return airside.Errorf(airside.Invalid, "the request body is not as long as its Content-Length says").Because(err)
	}
	if e := ended(t.parent); e != nil {
		t.overdue(e)
		return e
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return t.blame(f)
	}
	return airside.Errorf(airside.Internal, "").Because(err) // the request is not one that can be sent
}

// broken phrases why the answer did not go on.
func (t *try) broken(err error) error {
	f, ok := errors.AsType[*failure](t.cause())
	if !ok {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			err = &cutShort{err}
		}
		f = &failure{kind: cut, sent: true, err: err}
	}
	fault := t.fault(f)
	t.broke(fault)
	return fault
}

// A cutShort error makes any end that is none an io.ErrUnexpectedEOF.
type cutShort struct{ error }

func (c *cutShort) Unwrap() []error { return []error{io.ErrUnexpectedEOF, c.error} }
