// Package canon makes a request canonical: its path, authority, query, headers
// and client address. It is the one place where this is done, so that the
// router, the policies, the cache key, the log and the upstream read the same
// request.
//
// What two readers could understand differently is refused, never repaired. The
// only changes made are those that RFC 3986 section 6.2.2 calls equivalent
// (percent-encoded unreserved characters, the case of hexadecimal digits and of
// host names), and the joining of cookies that RFC 9113 section 8.2.3 asks for.
//
// The functions keep no state. Their errors are meant for the client: each wraps
// an [airside.Error] with the code [airside.Invalid], whose message, and the
// error's own text, says what is wrong, where, and what to do, in words that hold
// nothing of the inside and no unprintable byte.
//
// A server calls, in this order: [Path], [Query] and [Host] on the request
// target, [Headers], [StripHopByHop], [Client], and [StripForwarded] unless the
// peer is trusted.
package canon

import "github.com/airside-gateway/airside"

// clipped is how many bytes of a refused input a message repeats.
const clipped = 64

// A refusal is an [airside.Error] whose text is the message alone, so that it
// reads well where the input is a setting and not a request.
type refusal struct{ err *airside.Error }

func (r refusal) Error() string { return r.err.Message }

// Unwrap returns the [airside.Error].
func (r refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error {
	return refusal{airside.Errorf(airside.Invalid, format, args...)}
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) <= clipped {
		return s
	}
	return s[:clipped] + "..."
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex is the value of a digit for which hexDigit holds.
func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// unreserved is RFC 3986 section 2.3.
func unreserved(c byte) bool {
	return alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}
