package mirror

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// markHeader tells an agent that what it gets is a copy.
const markHeader = "X-Airside-Mirror"

// credentials are the headers that prove who asks.
var credentials = []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// apart is a context without what the exchange keeps in its own: what belongs to
// one goroutine must not be found by another.
type apart struct{ context.Context }

// Value is nil.
func (apart) Value(any) any { return nil }

// duplicate makes an exchange of its own of x, with body for its request. Nothing of
// x is in it that ends with x: texts are copied too, since they may lie in a buffer
// that the edge uses again.
func duplicate(ctx context.Context, x *airside.Exchange, body []byte) *airside.Exchange {
	r := x.Request.Clone(ctx)
	r.Method, r.Host, r.RemoteAddr = strings.Clone(r.Method), strings.Clone(r.Host), strings.Clone(r.RemoteAddr)
	r.RequestURI, r.Proto, r.Pattern = strings.Clone(r.RequestURI), strings.Clone(r.Proto), strings.Clone(r.Pattern)
	r.URL = cloneURL(r.URL)
	r.Header = cloneHeader(r.Header)
	r.Body, r.GetBody, r.Response = http.NoBody, nil, nil
	r.ContentLength, r.TransferEncoding, r.Trailer = 0, nil, nil
	r.Header.Del("Trailer")
	r.Header.Del("Expect") // the body is there
	c := airside.NewExchange(r, x.Log)
	if len(body) > 0 {
		c.SetBody(body)
	}
	c.ID, c.Route = strings.Clone(x.ID), x.Route
	c.Client = airside.Client{Addr: strings.Clone(x.Client.Addr), Scheme: strings.Clone(x.Client.Scheme)}
	c.Protocol = x.Protocol
	c.Call = airside.Call{Operation: strings.Clone(x.Call.Operation), Target: strings.Clone(x.Call.Target), ID: strings.Clone(x.Call.ID)}
	c.Caller = airside.Caller{ID: strings.Clone(x.Caller.ID), Claims: maps.Clone(x.Caller.Claims)}
	return c
}

func cloneURL(u *url.URL) *url.URL {
	return &url.URL{
		Scheme: strings.Clone(u.Scheme), Opaque: strings.Clone(u.Opaque), User: u.User, Host: strings.Clone(u.Host),
		Path: strings.Clone(u.Path), RawPath: strings.Clone(u.RawPath), OmitHost: u.OmitHost, ForceQuery: u.ForceQuery,
		RawQuery: strings.Clone(u.RawQuery), Fragment: strings.Clone(u.Fragment), RawFragment: strings.Clone(u.RawFragment),
	}
}

func cloneHeader(h http.Header) http.Header {
	out := make(http.Header, len(h)+1)
	for name, values := range h {
		own := make([]string, len(values))
		for i, v := range values {
			own[i] = strings.Clone(v)
		}
		out[strings.Clone(name)] = own
	}
	return out
}

// label takes out of the headers of a copy what it must not have, and marks them.
func (m *mirror) label(h http.Header) {
	if !m.Credentials {
		for _, name := range credentials {
			web.DelHeader(h, name)
		}
	}
	web.SetHeader(h, markHeader, "1")
}
