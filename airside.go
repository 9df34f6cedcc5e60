// Package airside holds the few types that every part of the gateway speaks in:
// an [Exchange] comes in, a [Handler] answers it, a [Middleware] stands in
// between, a [Protocol] reads the call and phrases the refusals, and an [Error]
// says why something was refused.
//
// It imports the standard library only, and every other package may import it.
package airside

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// An Exchange is one request on its way through the gateway, with everything
// that has been learned about it so far. It belongs to one goroutine, and it is
// not to be kept after it is finished.
type Exchange struct {
	// Request is canonical: its path, host and headers mean the same to the
	// router, to every policy and to the upstream. Policies may change or
	// replace it. It is valid until the exchange is finished.
	Request *http.Request

	ID       string       // the request id, also sent on as X-Request-Id
	Client   Client       // where the request came from
	Route    string       // name of the matched route; empty before
	Upstream string       // name of the upstream that answered, for the log
	Endpoint string       // address of the endpoint of it that was asked last, for the log
	Protocol Protocol     // the language the client speaks
	Call     Call         // what the client asks for
	Caller   Caller       // who asks; zero until an authentication policy has run
	Log      *slog.Logger // the gateway's; name ID in what is written about this exchange

	// Failures are what went wrong before the answer came: tries that a retry or a
	// fallback made good for. They are for the log.
	Failures []error

	// Trace is what is recorded of the exchange; nil where nothing is.
	Trace *Trace

	// Inform sends an informational answer (1xx, but 100 and 101) to the client
	// ahead of the real one. Nil where the client cannot be told.
	Inform func(status int, h http.Header)

	body   *replay
	held   bool // see Hold
	spared bool // see Spare
	done   []func(Outcome)

	// What most exchanges need, so that it is not allocated one by one.
	first replay
	view  view
	room  [4]func(Outcome)

	lent     []releaser
	lentRoom [2]releaser
}

// A releaser holds memory that is used again.
type releaser interface{ Release() }

// AfterDone has r released when the exchange is over for everybody: after the functions
// of [Exchange.OnDone], first registered first. It is for memory that is used again:
// that of an answer, which those functions may still look at.
func (x *Exchange) AfterDone(r interface{ Release() }) {
	if x.lent == nil {
		x.lent = x.lentRoom[:0]
	}
	x.lent = append(x.lent, r)
}

// Context is the context of the request. It ends when the client goes away.
func (x *Exchange) Context() context.Context { return x.Request.Context() }

// OnDone registers f to run after the last byte of the answer was written, or
// the exchange was given up. Functions run last registered first, each once.
func (x *Exchange) OnDone(f func(Outcome)) {
	if x.done == nil {
		x.done = x.room[:0]
	}
	x.done = append(x.done, f)
}

// Finish runs the functions of OnDone, and then releases what AfterDone was given, once.
// All of it happens even if a function panics. Only the edge, and tests, call it.
func (x *Exchange) Finish(o Outcome) {
	defer x.release()
	x.unwind(o)
	clear(x.room[:])
}

func (x *Exchange) unwind(o Outcome) {
	defer func() {
		if len(x.done) > 0 { // one has panicked, which goes on when the others have run
			x.unwind(o)
		}
	}()
	for n := len(x.done); n > 0; n = len(x.done) {
		done := x.done[n-1]
		x.done = x.done[:n-1]
		done(o)
	}
	x.done = nil
}

func (x *Exchange) release() {
	lent := x.lent
	x.lent = nil
	for _, r := range lent {
		r.Release()
	}
	clear(x.lentRoom[:])
}

// A Client is the far end of the connection a request came by.
type Client struct {
	Addr   string // IP address without port: the peer's, or the one a trusted proxy named
	Scheme string // "http" or "https", as the client sees it
}

// A Call is what the client asks for, in words that all protocols share.
type Call struct {
	Operation string // "chat", "tools/call", "message/send"; the method for plain HTTP
	Target    string // model, tool or skill; empty where there is none
	ID        string // the protocol's own request id, as JSON; empty where there is none
}

// A Caller is who asks. The zero Caller is nobody: not authenticated.
type Caller struct {
	ID     string         // unique among the callers of one authentication policy
	Claims map[string]any // what the proof said: claims of a token, labels of a key
}

// An Outcome is how an exchange ended.
type Outcome struct {
	Status   int           // as sent to the client; 0 if nothing was sent
	Received int64         // bytes of the request body read
	Sent     int64         // bytes of the response body written
	Duration time.Duration // from the request head to the last byte
	Err      error         // nil, or what failed the exchange or cut the answer short
}

// Failed reports whether the exchange ended in a failure that was not its client's: a
// status from 500 on, or an answer that somebody else than the client cut short.
func (o *Outcome) Failed() bool {
	return o.Status >= http.StatusInternalServerError ||
		o.Err != nil && AsError(o.Err).Code.Status() >= http.StatusInternalServerError
}

// A Handler answers an exchange. It returns a response, whose body the caller
// must close, or an error; never both, and never neither.
//
// A handler may be called again for the same exchange (a retry) once
// [Exchange.Rewind] has said that the request body can be read anew.
type Handler interface {
	Handle(*Exchange) (*http.Response, error)
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(*Exchange) (*http.Response, error)

// Handle calls f.
func (f HandlerFunc) Handle(x *Exchange) (*http.Response, error) { return f(x) }

// A Middleware wraps the handler that follows it.
type Middleware func(next Handler) Handler

// Chain returns h behind ms, the first of which sees the exchange first.
func Chain(h Handler, ms ...Middleware) Handler {
	for _, m := range slices.Backward(ms) {
		h = m(h)
	}
	return h
}

// A Protocol is the language a client speaks.
type Protocol interface {
	// Parse says what is being asked. It may read the request body, bounded.
	Parse(*Exchange) (Call, error)

	// Fail phrases err as the protocol does, before anything was sent.
	Fail(*Exchange, *Error) *http.Response

	// FailStream phrases err for the end of a stream already begun. Nil means
	// that the protocol has no words for it, and the connection is cut.
	FailStream(*Exchange, *Error) []byte
}
