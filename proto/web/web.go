// Package web is plain HTTP: the call is the method, and refusals are problem
// documents (RFC 9457, application/problem+json).
package web

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"strconv"

	"github.com/airside-gateway/airside"
)

func init() { airside.RegisterProtocol("web", Protocol{}) }

// Protocol is plain HTTP. The zero value is ready.
type Protocol struct{}

// Parse says that the operation is the method. It never reads the body.
func (Protocol) Parse(x *airside.Exchange) (airside.Call, error) {
	return airside.Call{Operation: x.Request.Method}, nil
}

// A Problem is a problem document, RFC 9457 section 3, with two members of ours:
// code, which is stable, and request, by which the log is searched.
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
	Code    string `json:"code"`
	Request string `json:"request,omitempty"`
}

// Fail phrases e as a problem document.
func (Protocol) Fail(x *airside.Exchange, e *airside.Error) *http.Response {
	b, err := json.Marshal(Problem{
		Type: "about:blank", Title: e.Code.Title(), Status: e.Code.Status(),
		Detail: e.Message, Code: string(e.Code), Request: x.ID,
	})
	if err != nil { // strings and a number always marshal
		b = []byte(`{"type":"about:blank","status":500}`)
	}
	return Answer(x, e, "application/problem+json", append(b, '\n'))
}

// FailStream has no words: plain HTTP knows no way to end a stream badly but to
// cut it.
func (Protocol) FailStream(*airside.Exchange, *airside.Error) []byte { return nil }

// Answer makes the response to e out of a body that was phrased already, with
// the headers that every protocol sends: Retry-After (RFC 9110 section 10.2.3,
// whole seconds, rounded up) and those of e.
func Answer(x *airside.Exchange, e *airside.Error, contentType string, body []byte) *http.Response {
	h := http.Header{}
	maps.Copy(h, e.Header)
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	return Response(x, e.Code.Status(), h, body)
}

// Response makes a whole response with the given body.
func Response(x *airside.Exchange, status int, h http.Header, body []byte) *http.Response {
	var b io.ReadCloser = http.NoBody
	if len(body) > 0 {
		b = airside.BodyReader(body)
	}
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: b, ContentLength: int64(len(body)), Request: x.Request,
	}
}
