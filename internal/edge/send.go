package edge

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge/h1"
	"github.com/airside-gateway/airside/proto/web"
)

// Buffers for copying answers. An event stream waits in its buffer most of its
// life, so it gets a small one: that, not speed, is what a stream costs.
type (
	bulk   [32 << 10]byte
	stream [2 << 10]byte
)

var (
	bulks   = sync.Pool{New: func() any { return new(bulk) }}
	streams = sync.Pool{New: func() any { return new(stream) }}
)

// errClient marks a write that failed: the client is gone or too slow. It is no failure of
// ours: what counts failures goes by the code.
var errClient = &airside.Error{Code: airside.Canceled, Err: errors.New("the client stopped reading")}

// send writes resp to the client and closes it. The error, if any, says that the
// answer was cut short: the connection (or the HTTP/2 stream) must be cut too, so
// that nobody takes half an answer for a whole one.
func (e *exchange) send(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }() // what there was to say, Read has said
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return e.breakOff(e.switchProtocols(resp))
	}
	e.header(resp)
	if e.head || !hasBody(resp) {
		e.writeHead(resp.StatusCode)
		return nil
	}
	if err := e.relay(resp); err != nil {
		return e.breakOff(err)
	}
	e.trailers(resp)
	return nil
}

// trailers sends what was announced, and what came unannounced.
func (e *exchange) trailers(resp *http.Response) {
	if len(resp.Trailer) == 0 {
		return
	}
	if e.fast != nil {
		e.fast.Trailers(resp.Trailer)
		return
	}
	h := e.w.Header()
	for k, v := range resp.Trailer {
		if e.announced[k] {
			h[k] = v // not added to: the head may have had a header of that name
			continue
		}
		for _, s := range v {
			h.Add(http.TrailerPrefix+k, s)
		}
	}
}

// hasBody reports whether resp may have a body, RFC 9110 section 6.4.1.
func hasBody(resp *http.Response) bool {
	return resp.StatusCode >= 200 && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified &&
		resp.Body != nil && resp.Body != http.NoBody
}

// hopByHop are the headers of an answer that are about one connection, RFC 9110
// section 7.6.1. The upstream has removed those that Connection names; these are
// what a policy may have added since.
var hopByHop = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Trailer", "Te"}

// header makes the head of resp ready for the engine.
func (e *exchange) header(resp *http.Response) {
	if e.fast != nil {
		e.answered = h1.Answer{
			Header: e.advertised(resp.Header), ID: e.x.ID, Length: resp.ContentLength, Close: e.closing(),
			Whole: e.head || !hasBody(resp), Trailer: resp.Trailer,
		}
		return
	}
	h := e.w.Header()
	clear(h)
	maps.Copy(h, e.advertised(resp.Header))
	for _, k := range hopByHop {
		delete(h, k)
	}
	h.Set(requestID, e.x.ID)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or the engine would guess one that the agent did not mean
	}
	switch {
	case e.head || resp.StatusCode == http.StatusNotModified: // the length is that of the answer to a GET
	case len(resp.Trailer) > 0 || resp.ContentLength < 0 || resp.StatusCode == http.StatusNoContent:
		delete(h, "Content-Length")
	default:
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	for k := range resp.Trailer {
		h.Add("Trailer", k)
		if e.announced == nil {
			e.announced = map[string]bool{}
		}
		e.announced[k] = true
	}
	if e.closing() {
		h.Set("Connection", "close")
	}
}

// closing reports whether the connection serves no other request.
func (e *exchange) closing() bool {
	return e.closes || e.server.draining.Load() || e.body != nil && e.major == 1 && !e.body.settle()
}

// writeHead writes the head that header has made ready.
func (e *exchange) writeHead(status int) {
	if e.fast != nil {
		e.answered.Status = status
		e.fast.Answer(&e.answered)
		return
	}
	e.w.WriteHeader(status)
}

// relay copies the body as it comes. The first piece is awaited before the head
// is sent if the length is known, so that an agent that fails there still becomes
// a proper error; a body of unknown length is flushed piece by piece.
func (e *exchange) relay(resp *http.Response) error {
	out := &e.out
	out.open(e, resp, resp.ContentLength < 0)
	defer func() { e.sent = out.n }()
	if out.flushes {
		out.begin()
		if b, ok := resp.Body.(buffered); !ok || b.Buffered() == 0 { // else the head goes with the first piece
			if err := out.flush(); err != nil {
				return err
			}
		}
	}
	err := out.copy(resp.Body)
	switch {
	case err != nil && !out.begun && !errors.Is(err, errClient):
		return &unsent{err}
	case err != nil:
		return err
	case !out.begun:
		out.begin()
	}
	if e.major == 1 || e.fast != nil {
		return nil
	}
	return out.flush() // while the alarm is armed: net/http would wait for a client's window for ever
}

// An unsent error came before anything was sent.
type unsent struct{ error }

func (u *unsent) Unwrap() error { return u.error }

// breakOff ends an answer that cannot be finished: by an error that is still
// possible, in the words that the protocol has for the end of a stream, or, by
// returning an error, in being cut.
func (e *exchange) breakOff(err error) error {
	if err == nil || errors.Is(err, errClient) {
		return err
	}
	if u, ok := errors.AsType[*unsent](err); ok {
		e.failed = u.error
		resp := e.fail(u.error)
		e.status = resp.StatusCode
		e.header(resp)
		e.out.open(e, resp, false)
		e.out.begin()
		_, werr := io.Copy(struct{ io.Writer }{&e.out}, resp.Body)
		e.sent = e.out.n
		return werr
	}
	var words []byte
	if resp := e.out.resp; resp != nil && web.EventStream(resp.Header) {
		words = e.x.Protocol.FailStream(e.x, airside.AsError(err))
	}
	if words == nil {
		return err
	}
	e.failed = err
	e.out.flushes = true
	_, werr := e.out.Write(words)
	e.sent = e.out.n
	return werr
}
