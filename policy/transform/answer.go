package transform

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/jq"
	"github.com/airside-gateway/airside/proto/sse"
	"github.com/airside-gateway/airside/proto/web"
)

// answer applies the filter that is for resp, if there is one.
func (p *policy) answer(ctx context.Context, resp *http.Response, known []any) (*http.Response, error) {
	var err error
	switch {
	case p.events != nil && web.EventStream(resp.Header):
		err = p.stream(ctx, resp, known)
	case p.response != nil && web.JSON(resp.Header):
		err = p.whole(ctx, resp, known)
	case p.response != nil && p.Strict:
		err = airside.Errorf(airside.UpstreamFailed, "the agent answered with something other than JSON")
	}
	if err != nil {
		_ = resp.Body.Close() // it is not passed on
		return nil, err
	}
	return resp, nil
}

// whole applies the response filter.
func (p *policy) whole(ctx context.Context, resp *http.Response, known []any) error {
	body, packed, err := p.read(ctx, resp)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		v, leave, err := p.decode(ctx, p.response, body, packed)
		if err != nil {
			return p.badAgentBody("the agent's answer", err)
		}
		defer leave()
		known = with(known, p.response, func() any { return response(resp) })
		if body, err = p.run(ctx, p.response, v, known); err != nil {
			return p.badAnswer(err)
		}
		changed(resp)
		resp.Header.Del("Trailer")
		resp.Trailer = nil
	}
	_ = resp.Body.Close() // all was read
	resp.Body = airside.BodyReader(body)
	resp.ContentLength = int64(len(body))
	resp.TransferEncoding = nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// read reads the body of resp, and reports whether it is packed by gzip.
func (p *policy) read(ctx context.Context, resp *http.Response) (body []byte, packed bool, err error) {
	packed, ok := coding(resp.Header)
	if !ok {
		return nil, false, errCoding()
	}
	if resp.ContentLength > int64(p.Max) {
		return nil, false, p.largeAnswer()
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, int64(p.Max)+1))
	if err != nil {
		return nil, false, broken(ctx, err)
	}
	if int64(len(body)) > int64(p.Max) {
		return nil, false, p.largeAnswer()
	}
	return body, packed, nil
}

func errCoding() error {
	return airside.Errorf(airside.UpstreamFailed, "the agent's answer is compressed in a way that it was not asked for")
}

func (p *policy) largeAnswer() error {
	return airside.Errorf(airside.UpstreamFailed, "the agent's answer is larger than the %s that can be transformed here", p.Max)
}

// broken says why an answer could not be read to its end.
func broken(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*airside.Error](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return airside.Errorf(airside.UpstreamFailed, "the agent's answer broke off").Because(err)
}

// badAnswer makes a failure of the filter one of the agent's, whose data it was.
// What the filter says stays in the log: it was not said to the client.
func (p *policy) badAnswer(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, jq.ErrOutput):
		return p.largeAnswer()
	}
	return airside.Errorf(airside.UpstreamFailed, "the agent's answer does not have the form that is expected here").Because(err)
}

// stream applies the events filter, to each event as it is read.
func (p *policy) stream(ctx context.Context, resp *http.Response, known []any) error {
	packed, ok := coding(resp.Header)
	if !ok {
		return errCoding()
	}
	known = with(known, p.events, func() any { return response(resp) })
	body := resp.Body
	if packed {
		body = &unpacking{src: body}
	}
	resp.Body = sse.Map(body, int(p.Max), func(e sse.Event) (sse.Event, bool, error) { return p.event(ctx, e, known) })
	resp.ContentLength = -1
	resp.Header.Del("Content-Length")
	changed(resp)
	return nil
}

// changed removes what is not so any more.
func changed(resp *http.Response) {
	clean(resp.Header)
	resp.Header.Del("Etag")
	resp.Header.Del("Accept-Ranges")
	resp.Uncompressed = false
}

// event returns what the filter makes of e, and whether there is anything left.
func (p *policy) event(ctx context.Context, e sse.Event, known []any) (sse.Event, bool, error) {
	if e.Data == nil {
		return e, true, nil
	}
	v, leave, err := p.decode(ctx, p.events, e.Data, false)
	if err != nil {
		if s, ok := errors.AsType[*jq.SyntaxError](err); ok && !s.Refused {
			return e, true, nil
		}
		return e, false, p.badAgentBody("an event of the agent", err)
	}
	defer leave()
	known = with(known, p.events, func() any { return map[string]any{"type": e.Type, "id": e.ID} })
	v, err = p.events.One(ctx, v, known...)
	if errors.Is(err, jq.ErrNone) || err == nil && v == nil {
		return e, false, nil
	}
	if err == nil {
		e.Data, err = jq.EncodeMax(v, int(p.Max))
	}
	if err != nil {
		return e, false, p.badAnswer(err)
	}
	return e, true, nil
}

// unpacking decompresses a stream. It reads no more of src than it needs to give
// what has arrived.
type unpacking struct {
	src io.ReadCloser
	err error // what src ended with
	z   *gzip.Reader
}

// A packed is the source of an unpacking, for its decompressor.
type packed struct{ *unpacking }

func (p packed) Read(b []byte) (int, error) {
	n, err := p.src.Read(b)
	p.err = err
	return n, err
}

func (u *unpacking) Read(b []byte) (int, error) {
	if u.z == nil {
		z, err := gzip.NewReader(packed{u})
		if err != nil {
			return 0, u.fault(err)
		}
		u.z = z
	}
	n, err := u.z.Read(b)
	return n, u.fault(err)
}

// fault leaves the end, and what broke the source, as they are. The rest is wrong
// compression.
func (u *unpacking) fault(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case u.err != nil && !errors.Is(u.err, io.EOF):
		return u.err
	}
	return airside.Errorf(airside.UpstreamFailed, "the agent's answer is not valid gzip, as it says").Because(err)
}

// Close closes the source.
func (u *unpacking) Close() error { return u.src.Close() }
