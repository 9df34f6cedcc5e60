package airside

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A Code names a class of failure. Codes are part of the API: they never change
// meaning and are never removed.
type Code string

// The codes. [Code.Status] is the HTTP status of each.
const (
	Invalid            Code = "invalid_request"
	Unauthenticated    Code = "unauthenticated"
	Denied             Code = "denied"
	NotFound           Code = "not_found"
	MethodNotAllowed   Code = "method_not_allowed"
	RequestTimeout     Code = "request_timeout" // the client took too long to send
	TooLarge           Code = "too_large"
	URITooLong         Code = "uri_too_long"
	UnsupportedMedia   Code = "unsupported_media"
	Misdirected        Code = "misdirected" // the host is not the one the TLS handshake named
	Blocked            Code = "blocked"     // a policy refused the content
	RateLimited        Code = "rate_limited"
	HeadersTooLarge    Code = "headers_too_large"
	ExpectationFailed  Code = "expectation_failed"  // an Expect other than 100-continue
	VersionUnsupported Code = "version_unsupported" // a version of HTTP that is not served
	Canceled           Code = "canceled"            // the client went away
	Internal           Code = "internal"
	Unsupported        Code = "unsupported"
	UpstreamFailed     Code = "upstream_failed"
	Unavailable        Code = "unavailable"
	Timeout            Code = "timeout" // the agent took too long
)

// StatusClientClosed is the status in the log for a client that went away. Nobody
// is there to receive it. The number is nginx's.
const StatusClientClosed = 499

// Status is the HTTP status of c; 500 for a code that is not one of the list.
func (c Code) Status() int {
	status, _ := c.words()
	return status
}

// Title is a short sentence for c, the same every time.
func (c Code) Title() string {
	_, title := c.words()
	return title
}

func (c Code) words() (status int, title string) {
	switch c {
	case Invalid:
		return http.StatusBadRequest, "The request is not valid"
	case Unauthenticated:
		return http.StatusUnauthorized, "Authentication is required"
	case Denied:
		return http.StatusForbidden, "The caller may not do this"
	case NotFound:
		return http.StatusNotFound, "There is nothing here"
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed, "The method is not allowed here"
	case RequestTimeout:
		return http.StatusRequestTimeout, "The request took too long to arrive"
	case TooLarge:
		return http.StatusRequestEntityTooLarge, "The request is too large"
	case URITooLong:
		return http.StatusRequestURITooLong, "The request target is too long"
	case UnsupportedMedia:
		return http.StatusUnsupportedMediaType, "The content type is not supported"
	case Misdirected:
		return http.StatusMisdirectedRequest, "The request came to the wrong host"
	case Blocked:
		return http.StatusUnprocessableEntity, "The content was blocked"
	case RateLimited:
		return http.StatusTooManyRequests, "Too many requests"
	case HeadersTooLarge:
		return http.StatusRequestHeaderFieldsTooLarge, "The request headers are too large"
	case ExpectationFailed:
		return http.StatusExpectationFailed, "The expectation cannot be met"
	case VersionUnsupported:
		return http.StatusHTTPVersionNotSupported, "This version of HTTP is not supported"
	case Canceled:
		return StatusClientClosed, "The client went away"
	case Unsupported:
		return http.StatusNotImplemented, "This is not supported"
	case UpstreamFailed:
		return http.StatusBadGateway, "The agent failed"
	case Unavailable:
		return http.StatusServiceUnavailable, "The agent is not available"
	case Timeout:
		return http.StatusGatewayTimeout, "The agent did not answer in time"
	case Internal:
	}
	return http.StatusInternalServerError, "Something went wrong in the gateway"
}

// An Error is a failure that the client is told about. Everything but Err
// reaches the client; Err reaches only the log.
type Error struct {
	Code       Code
	Message    string        // for the client: what, where, and what to do; nothing of the inside
	RetryAfter time.Duration // when it may work, if known
	Header     http.Header   // sent with the answer, such as WWW-Authenticate
	Err        error         // the cause
}

// Errorf returns an [Error] for the client.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because keeps cause for the log and returns e.
func (e *Error) Because(cause error) *Error {
	e.Err = cause
	return e
}

// Error is for the log: it holds the cause.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		if cause := e.Err.Error(); cause != e.Message {
			s += ": " + cause
		}
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError finds the [Error] in err. An error that is none becomes [Internal]
// (or [Timeout], or [Canceled]), and its text stays in the log.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: Timeout, Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: Canceled, Err: err}
	}
	return &Error{Code: Internal, Err: err}
}

// A FieldError says which setting of a component is wrong. The configuration
// turns it into a line and a column.
type FieldError struct {
	Field string // the key, or a path of keys and indexes: "retry.on[2]"
	Err   error
}

// FieldErrorf returns a [FieldError]. Errors of several fields are joined by
// [errors.Join].
func FieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Err: fmt.Errorf(format, args...)}
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the field.
func (e *FieldError) Unwrap() error { return e.Err }
