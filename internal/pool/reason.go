package pool

import (
	"errors"
	"slices"

	"github.com/airside-gateway/airside"
)

// A Reason makes a request be sent again: a kind of failure, or a status that the
// agent answered. In the file a status may be written as a number.
type Reason string

// The reasons.
const (
	OnConnect Reason = "connect" // no connection came about
	OnReset   Reason = "reset"   // the connection broke before the head of the answer
	OnTimeout Reason = "timeout" // the answer did not begin in time
	On429     Reason = "429"
	On500     Reason = "500"
	On502     Reason = "502"
	On503     Reason = "503"
	On504     Reason = "504"
	On5xx     Reason = "5xx" // every status from 500 to 599
)

var reasons = [...]Reason{OnConnect, OnReset, OnTimeout, On429, On500, On502, On503, On504, On5xx}

// UnmarshalText takes one of the reasons and refuses everything else.
func (r *Reason) UnmarshalText(text []byte) error {
	if !slices.Contains(reasons[:], Reason(text)) {
		return errReason
	}
	*r = Reason(text)
	return nil
}

var errReason = errors.New("expected one of connect, reset, timeout, 429, 500, 502, 503, 504, 5xx")

// reasonOf sorts an error. Those that are not a failure of a pool come from
// upstreams that do not tell as much.
func reasonOf(err error) Reason {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		switch airside.AsError(err).Code {
		case airside.UpstreamFailed:
			return OnReset
		case airside.Timeout:
			return OnTimeout
		}
		return ""
	}
	switch f.kind {
	case noName, refused, unreachable, connectTimeout, certificate, handshake, handshakeTimeout, noHTTP2:
		return OnConnect
	case broke, cut:
		return OnReset
	case firstByteTimeout, tryTimeout, eventTimeout, idleTimeout:
		return OnTimeout
	}
	return ""
}

// asked reports whether err is the end of a time-out that is there for the sake of
// another try, so that it makes one whatever is listed.
func asked(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && (f.kind == tryTimeout || f.kind == eventTimeout)
}

// kindOf says for an expression at which point a try failed: one of the reasons that are
// no status, "unavailable" or "malformed"; empty for what is none of them.
func kindOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		switch f.kind {
		case full, exhausted, deserted, ailing:
			return "unavailable"
		case malformed, headTooLarge, unasked:
			return "malformed"
		}
	}
	return string(reasonOf(err))
}
