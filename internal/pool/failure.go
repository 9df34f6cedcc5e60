package pool

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// A kind is a way for a try to fail.
type kind uint8

const (
	full             kind = iota // every connection the endpoint may have is in use
	exhausted                    // the gateway has no socket left
	noName                       // the name cannot be resolved
	refused                      // nothing listens there
	unreachable                  // no way there
	connectTimeout               //
	certificate                  // it is not the agent's, or not valid
	handshake                    // the two do not agree on TLS
	handshakeTimeout             //
	noHTTP2                      // the agent does not speak what it is configured to speak
	broke                        // the connection ended before the head of the answer
	malformed                    // the answer is not HTTP
	headTooLarge                 //
	unasked                      // 101, but nobody asked for it
	firstByteTimeout             // no head in time
	totalTimeout                 // no end in time
	cut                          // the answer ended before its end
	idleTimeout                  // the answer stopped for too long
	tryTimeout                   // a try took longer than a retry gives it
	eventTimeout                 // an event stream did not begin in time
	deserted                     // the upstream has no endpoint now
	ailing                       // none of its endpoints is well enough to be asked
)

// phrases says what the client is told, by kind. A %s is the limit that was
// passed. Nothing of the inside is in them.
var phrases = [...]struct {
	code    airside.Code
	message string
}{
	full:             {airside.Unavailable, "all connections to the agent are in use; try again soon"},
	exhausted:        {airside.Unavailable, "the gateway has no connection left for the agent; try again soon"},
	noName:           {airside.UpstreamFailed, "the name of the agent cannot be resolved"},
	refused:          {airside.UpstreamFailed, "the agent refused the connection"},
	unreachable:      {airside.UpstreamFailed, "the agent cannot be reached"},
	connectTimeout:   {airside.Timeout, "the agent could not be reached within %s"},
	certificate:      {airside.UpstreamFailed, "the certificate of the agent is not valid"},
	handshake:        {airside.UpstreamFailed, "the TLS handshake with the agent failed"},
	handshakeTimeout: {airside.Timeout, "the TLS handshake with the agent took longer than %s"},
	noHTTP2:          {airside.UpstreamFailed, "the agent does not speak HTTP/2"},
	broke:            {airside.UpstreamFailed, "the agent ended the connection before it answered"},
	malformed:        {airside.UpstreamFailed, "the answer of the agent is not valid HTTP"},
	headTooLarge:     {airside.UpstreamFailed, "the head of the agent's answer is larger than 256KiB"},
	unasked:          {airside.UpstreamFailed, "the agent switched to a protocol that nobody asked for"},
	firstByteTimeout: {airside.Timeout, "the agent did not answer within %s"},
	totalTimeout:     {airside.Timeout, "the agent did not finish its answer within %s"},
	cut:              {airside.UpstreamFailed, "the answer of the agent ended before it was complete"},
	idleTimeout:      {airside.Timeout, "the answer of the agent was silent for longer than %s"},
	deserted:         {airside.Unavailable, "no instance of the agent is known at the moment; try again soon"},
	ailing:           {airside.Unavailable, "the agent has failed too often and is given a rest; try again soon"},
	tryTimeout:       {airside.Timeout, "the agent did not answer within %s"},
	eventTimeout:     {airside.Timeout, "the agent sent nothing of its event stream within %s"},
}

// fullRetry is when a client may try again that found no connection free, or no endpoint.
const fullRetry = time.Second

// A failure is why a try failed. It is the cause inside the [airside.Error] that
// the client sees, and what [Retry] decides by.
type failure struct {
	kind  kind
	sent  bool          // a part of the request may have reached the agent
	after time.Duration // the limit, if one was passed
	mute  time.Duration // for how long the agent had been awaited then
	err   error         // the cause; may be nil
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.message()
	}
	return f.err.Error()
}

func (f *failure) message() string {
	return strings.Replace(phrases[f.kind].message, "%s", spell(f.after), 1)
}

func (f *failure) Unwrap() error { return f.err }

// phrase says it to the client.
func (f *failure) phrase() *airside.Error {
	e := &airside.Error{Code: phrases[f.kind].code, Message: f.message(), Err: f}
	if f.kind == full || f.kind == exhausted || f.kind == deserted {
		e.RetryAfter = fullRetry
	}
	return e
}

// spell writes a duration without zero units: 1m, not 1m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// NothingSent reports whether err, which a [Pool] returned, says for certain that
// no byte of the request reached an agent, so that any request may be sent again.
func NothingSent(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && !f.sent
}

// ended phrases the end of ctx, which is that of the exchange: the client went
// away, or a deadline passed that the route set. Nil if it has not ended.
func ended(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if e, ok := errors.AsType[*airside.Error](cause); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return airside.Errorf(airside.Timeout, "the agent did not finish its answer in the time that the route allows").Because(cause)
	}
	return airside.Errorf(airside.Canceled, "the client ended its connection, or its side of it, before it was answered: keep it open until the answer has come").Because(cause)
}

// clientFault phrases what was wrong with the body that the client sent.
func clientFault(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*airside.Error](err); ok {
		return e
	}
	if e := ended(ctx); e != nil {
		return e
	}
	return airside.Errorf(airside.Invalid, "the request body ended early or is malformed").Because(err)
}

// Repeatable reports whether a request may be sent twice: its method says so (RFC
// 9110 section 9.2.2), or its sender does by an Idempotency-Key.
func Repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodTrace:
		return true
	}
	return len(r.Header["Idempotency-Key"]) > 0
}
