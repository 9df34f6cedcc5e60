// Package http1 reads and writes the wire form of HTTP/1.1 (RFC 9112): heads, chunked
// framing, trailers, and the buffers and sockets under them. The server engine
// (internal/edge/h1) and the client engine (internal/pool/h1) stand on it.
//
// It is strict: what two readers could understand differently is refused and never
// repaired. Whatever it accepts, net/http accepts too, and understands in the same
// way; the fuzz targets hold it to that.
//
// Refused are, in requests and in answers:
//   - lines that do not end in CR LF, a CR or LF alone, NUL and other control
//     characters, folded lines, white space before a colon, empty names, an empty line
//     before the message;
//   - Content-Length twice, as a list, with a sign, or beside Transfer-Encoding;
//   - Transfer-Encoding twice, other than "chunked", or in HTTP/1.0;
//   - a Trailer that names Content-Length, Transfer-Encoding or Trailer, in front of a
//     chunked body;
//   - a request without Host or with two, versions other than 1.0 and 1.1;
//   - chunk sizes with anything but hexadecimal digits, sizes beyond 60 bits,
//     malformed chunk extensions, and chunks whose data is not followed by CR LF;
//   - trailers that are about the framing, the routing or the connection.
package http1

import "net/http"

// An Error says what is wrong with a message, and which status a server answers that
// for a request. Its text names no content of the message.
type Error struct {
	Status int    // 400, 414, 431, 501 or 505
	Reason string // for the client, in one clause
}

func (e *Error) Error() string { return e.Reason }

// What a message can be refused for.
var (
	ErrRequestLine = &Error{http.StatusBadRequest, "the request line is malformed: it is a method, a target and HTTP/1.1, with one space between them"}
	ErrEmptyLine   = &Error{http.StatusBadRequest, "an empty line stands before the message"}
	ErrStatusLine  = &Error{http.StatusBadRequest, "the status line is malformed"}
	ErrTarget      = &Error{http.StatusBadRequest, "the request target holds a space, a control character or a #"}
	ErrVersion     = &Error{http.StatusHTTPVersionNotSupported, "the version is not HTTP/1.1 or HTTP/1.0"}
	ErrTargetLong  = &Error{http.StatusRequestURITooLong, "the request line is too long: a shorter path or query is needed"}
	ErrLarge       = &Error{http.StatusRequestHeaderFieldsTooLarge, "the head is too large: fewer or shorter headers are needed"}
	ErrMany        = &Error{http.StatusRequestHeaderFieldsTooLarge, "there are more than 256 header lines: fewer are needed"}
	ErrLineEnd     = &Error{http.StatusBadRequest, "a line does not end in CR LF"}
	ErrName        = &Error{http.StatusBadRequest, "a header name is malformed"}
	ErrFold        = &Error{http.StatusBadRequest, "a header line is folded, or begins with white space"}
	ErrValue       = &Error{http.StatusBadRequest, "a header value holds a control character"}
	ErrLength      = &Error{http.StatusBadRequest, "the Content-Length is malformed or repeated"}
	ErrBothLengths = &Error{http.StatusBadRequest, "the message has both a Content-Length and a Transfer-Encoding"}
	ErrCoding      = &Error{http.StatusNotImplemented, "the transfer coding is not chunked"}
	ErrCodingTwice = &Error{http.StatusBadRequest, "the Transfer-Encoding is repeated, or stands in HTTP/1.0"}
	ErrNoHost      = &Error{http.StatusBadRequest, "the request has no Host"}
	ErrTwoHosts    = &Error{http.StatusBadRequest, "the request has more than one Host"}
	ErrChunk       = &Error{http.StatusBadRequest, "the chunks of the body are malformed"}
	ErrTrailer     = &Error{http.StatusBadRequest, "a trailer is malformed, or may not be one"}
	ErrOverhead    = &Error{http.StatusBadRequest, "the chunks of the body are mostly extensions"}
)

// Bounds of a message that no setting changes.
const (
	MaxFields   = 256      // lines of a head
	MaxTrailers = 16 << 10 // bytes of the trailers of a body
	maxLine     = 16 << 10 // bytes of a request line
)
