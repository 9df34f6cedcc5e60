// Package edge is where requests come in and answers go out: it owns the
// listeners and TLS, makes the canonical request and the exchange, and is the only
// package that writes to a client. It knows no configuration file.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge/h1"
)

// Settings are what all listeners of a [Server] share.
type Settings struct {
	Handler  airside.Handler  // answers every exchange
	Fallback airside.Protocol // phrases errors before a route is known
	Log      *slog.Logger

	Observers []Observer // told of every exchange, in this order

	// Shed says why a request is refused before anything else is done with it, or nil: it
	// must be quick, and read no body. A nil Shed refuses none.
	Shed func(*http.Request) *airside.Error

	Tracer Tracer // nil: nothing is traced

	// Poison overwrites what engines use again, so that a test finds who has kept it.
	Poison bool
}

// serve is the first and the last stop of every exchange. Nothing panics past
// it but [http.ErrAbortHandler], by which an answer that cannot be finished is
// cut.
func (s *Server) serve(l *Listener, w http.ResponseWriter, r *http.Request) {
	s.run(l, w, r, nil)
}

// refuse answers what an engine could not read as a request.
func (s *Server) refuse(l *Listener, w http.ResponseWriter, r *http.Request, why *airside.Error) {
	s.run(l, w, r, why)
}

func (s *Server) run(l *Listener, w http.ResponseWriter, r *http.Request, refusal *airside.Error) {
	e := s.newExchange(w)
	e.server, e.listener, e.w, e.base, e.refusal = s, l, w, r.Context(), refusal
	e.start, e.head, e.major = time.Now(), r.Method == http.MethodHead, r.ProtoMajor
	e.choice = s.choice.Load()
	e.ctl = *http.NewResponseController(w)
	e.gate.ctl = &e.ctl
	e.openBody(r)
	e.x = &e.own
	e.x.Open(ownTrailer(r), s.Log)
	e.x.LimitBody(l.Limits.Body)
	e.x.Protocol = s.Fallback
	cut := e.answer()
	e.finish(cut)
	if cut != nil {
		e.gate.close()
		panic(http.ErrAbortHandler)
	}
	e.leave()
	e.gate.close()
	e.release()
}

// exchanges can be used again; see release.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// newExchange returns an exchange for w.
func (*Server) newExchange(w http.ResponseWriter) *exchange {
	fast, ok := w.(answerer)
	if !ok {
		return new(exchange)
	}
	e, _ := exchanges.Get().(*exchange) // the pool holds nothing else
	e.fast = fast
	return e
}

// release lets e be used again, if nobody but this goroutine can have anything of it:
// a request whose body had come whole before it began has no timer, and nobody who
// reads for it, unless somebody says so: see [airside.Exchange.Hold].
func (e *exchange) release() {
	if !e.spent() {
		return
	}
	if e.server.Poison {
		e.own = airside.Exchange{}
		return
	}
	*e = exchange{informs: e.informs}
	exchanges.Put(e)
}

// spent reports whether nobody but this goroutine can have anything of e.
func (e *exchange) spent() bool {
	return e.fast != nil && !e.switched && (e.body == nil || e.body.came && !e.own.Held())
}

// ownTrailer returns r with a map of trailers of its own, which holds the names that
// were announced: the engine writes into the one of r while the body is read.
func ownTrailer(r *http.Request) *http.Request {
	if len(r.Trailer) == 0 {
		return r
	}
	own := *r
	own.Trailer = make(http.Header, len(r.Trailer))
	for k := range r.Trailer {
		own.Trailer[k] = nil
	}
	return &own
}

// answer has the request answered and sends the answer. The error says that it was
// cut short. A panic is one, wherever it comes from.
func (e *exchange) answer() (cut error) {
	defer func() {
		if p := recover(); p != nil {
			cut = e.panicked(p)
		}
	}()
	resp, err := e.handle()
	if err != nil {
		resp = e.fail(err)
	}
	if e.status, e.failed = resp.StatusCode, err; e.choice != nil {
		e.note(resp)
	}
	return e.send(resp)
}

func (e *exchange) panicked(p any) error {
	e.x.Log.LogAttrs(e.server.ctx, slog.LevelError, "panic", slog.String("id", e.x.ID),
		slog.Any("value", p), slog.String("stack", string(debug.Stack())))
	return errPanic
}

// An answerer is the writer of our own engine, which takes the head of an answer as it
// is, and bounds the time of its writes itself.
type answerer interface {
	Peer() (addr netip.Addr, text string) // of the connection
	Answer(a *h1.Answer)
	Trailers(t http.Header)
}

// An exchange is what the edge knows of an [airside.Exchange] beyond it.
type exchange struct {
	server    *Server
	listener  *Listener
	w         http.ResponseWriter
	fast      answerer // w, if it is of our own engine
	ctl       http.ResponseController
	gate      gate
	base      context.Context   // of the request as it came: ends when the client leaves
	x         *airside.Exchange // own
	own       airside.Exchange
	values    [4]string // the values of headers that the gateway sets
	body      *body     // of client, or nil
	client    body
	out       writer
	answered  h1.Answer
	start     time.Time
	status    int   // as sent
	failed    error // why the answer is an error, or ends in one
	sent      int64
	major     int                    // version of HTTP that the client speaks
	head      bool                   // the client asked by HEAD, whatever policies made of it
	refusal   *airside.Error         // the engine could not read the request
	announced map[string]bool        // trailers that the head of the answer named
	closes    bool                   // no other request may come on the connection
	switched  bool                   // the connection speaks another protocol now
	informs   func(int, http.Header) // inform, made once

	method, host, path string          // for the log, as they came
	seen               Seen            // for observers
	outcome            airside.Outcome // the same
	describes          described
	choice             *Choice  // of what is logged, or nil
	noted              []string // of the headers of the answer, as choice wants them
}

var errNoAnswer = errors.New("edge: the handler returned neither an answer nor an error")

var errPanic = errors.New("edge: a panic")

// handle makes the request canonical and has it answered. A panic becomes an
// error.
func (e *exchange) handle() (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, airside.Errorf(airside.Internal, "").Because(e.panicked(p))
		}
	}()
	if e.refusal != nil {
		e.unread()
		return nil, e.refusal
	}
	if e.server.Shed != nil {
		if why := e.server.Shed(e.x.Request); why != nil {
			e.unread()
			return nil, why
		}
	}
	if err := e.admit(); err != nil {
		return nil, err
	}
	if e.listener.Redirect {
		return e.redirect(), nil
	}
	resp, err = e.server.Handler.Handle(e.x)
	if err == nil && resp == nil {
		err = errNoAnswer
	}
	return resp, err
}

// unread takes of a request that could not be read what is wanted for the log.
func (e *exchange) unread() {
	r, x := e.x.Request, e.x
	e.method, e.host = r.Method, r.Host
	e.path, _, _ = strings.Cut(r.RequestURI, "?")
	x.ID = e.identify(false)
	x.Client = airside.Client{Addr: peerAddr(r.RemoteAddr).String(), Scheme: "http"}
	if r.TLS != nil {
		x.Client.Scheme = "https"
	}
}

// fail phrases err in the client's protocol. What failed after the client had left
// is the client's doing, and so it is logged.
func (e *exchange) fail(err error) *http.Response {
	ae := airside.AsError(err)
	switch {
	case e.base.Err() == nil || ae.Code.Status() < 500 && ae.Code != airside.Canceled:
	case e.server.cutting.Load():
		ae = &airside.Error{Code: airside.Unavailable, Message: "the gateway has stopped", Err: err}
	case ae.Code.Status() >= 500:
		ae = &airside.Error{Code: airside.Canceled, Err: err}
	}
	return e.x.Protocol.Fail(e.x, ae)
}

// finish ends the exchange and writes its line to the log.
func (e *exchange) finish(cut error) {
	o := &e.outcome // what observers are given must lie on the heap
	*o = airside.Outcome{Status: e.status, Sent: e.sent, Duration: time.Since(e.start), Err: errors.Join(e.failed, cut)}
	if e.body != nil {
		o.Received = e.body.detach()
	}
	defer func() {
		if p := recover(); p != nil {
			_ = e.panicked(p) // of a function that was to run at the end
		}
		e.tell(o)
	}()
	e.x.Finish(*o)
}

// leave bounds what net/http does on an HTTP/1 connection after the exchange: it
// reads what is left of the request and sends what is left of the answer. It takes
// the deadlines away itself before the next request.
func (e *exchange) leave() {
	if e.major != 1 || e.switched || e.fast != nil {
		return
	}
	if e.body != nil && !e.body.ended() {
		_ = e.ctl.SetReadDeadline(time.Now().Add(drainTime)) // an engine without deadlines bounds the connection as a whole
	}
	if d := e.listener.Limits.WriteTimeout; d > 0 {
		_ = e.ctl.SetWriteDeadline(time.Now().Add(d))
	}
}
