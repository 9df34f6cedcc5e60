package transform

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/jq"
	"github.com/airside-gateway/airside/proto/web"
)

// requestBody returns what the filter makes of the request body; nil if there is
// nothing to do.
func (p *policy) requestBody(x *airside.Exchange, known []any) ([]byte, error) {
	r := x.Request
	if p.request == nil || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if !web.JSON(r.Header) {
		return p.otherRequest(x)
	}
	packed, ok := coding(r.Header)
	if !ok {
		e := airside.Errorf(airside.UnsupportedMedia, "the request body is compressed in a way that is not taken here: send it plain, or by gzip")
		e.Header = http.Header{"Accept-Encoding": {"gzip, identity"}}
		return nil, e
	}
	body, err := x.ReadBody(int64(p.Max))
	if err != nil || len(body) == 0 {
		return nil, err
	}
	v, leave, err := p.decode(x.Context(), p.request, body, packed)
	if err != nil {
		return nil, p.badBody(err)
	}
	defer leave()
	body, err = p.run(x.Context(), p.request, v, known)
	if err != nil {
		return nil, p.badRequest(err)
	}
	return body, nil
}

// otherRequest is for a body that is not JSON, if there is one at all.
func (p *policy) otherRequest(x *airside.Exchange) ([]byte, error) {
	if !p.Strict || x.Request.ContentLength == 0 {
		return nil, nil
	}
	return nil, airside.Errorf(airside.UnsupportedMedia, "the request body must be JSON: send it with Content-Type: application/json")
}

// badRequest makes a failure of the filter one of the client's, whose data it was.
func (p *policy) badRequest(err error) error {
	if raised, ok := errors.AsType[*jq.Raised](err); ok {
		return airside.Errorf(airside.Invalid, "%s", raised.Message)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, jq.ErrSeveral):
		return (&airside.Error{Code: airside.Internal}).Because(err)
	case errors.Is(err, jq.ErrOutput):
		return airside.Errorf(airside.TooLarge, "the request body becomes larger than the %s allowed here as it is passed on", p.Max).Because(err)
	case errors.Is(err, jq.ErrBudget):
		return airside.Errorf(airside.Invalid, "the request body takes too long to look through: send less").Because(err)
	}
	return airside.Errorf(airside.Invalid, "the request body does not have the form that is expected here").Because(err)
}

// run applies q to v, and writes the result.
func (p *policy) run(ctx context.Context, q *jq.Query, v any, known []any) ([]byte, error) {
	v, err := q.One(ctx, v, known...)
	if err != nil {
		return nil, err
	}
	return jq.EncodeMax(v, int(p.Max))
}

// coding reports whether a body is packed by gzip, and whether it can be read at
// all (RFC 9110 section 8.4).
func coding(h http.Header) (packed, ok bool) {
	for _, line := range h.Values("Content-Encoding") {
		for c := range strings.SplitSeq(line, ",") {
			switch c = strings.TrimSpace(c); {
			case c == "" || strings.EqualFold(c, "identity"):
			case (strings.EqualFold(c, "gzip") || strings.EqualFold(c, "x-gzip")) && !packed:
				packed = true
			default:
				return false, false
			}
		}
	}
	return packed, true
}
