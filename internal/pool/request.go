package pool

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// hopByHop are the headers that are about one connection, RFC 9110 section 7.6.1,
// and those between a client and its own proxy.
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Trailer",
	"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
}

// framing are the fields that may not stand in a trailer, RFC 9110 section 6.5.1,
// since they say how the message is read, or who sends it.
var framing = [...]string{
	"Content-Length", "Host", "Content-Encoding", "Content-Type", "Content-Range", "Te", "Expect", "Range",
	"Authorization", "Cookie", "Set-Cookie", "Idempotency-Key", "Traceparent", "Tracestate",
}

// dropped reports whether a header of a request is not sent on as it is: it is about
// the connection, or the engine writes it.
func dropped(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Trailer",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
		"Te", "Host", "Content-Length":
		return true
	}
	return false
}

// request makes what is sent to m out of the request of x, which stays as it is, and of
// which net/http may still look at a copy when x is over. Upgrade is the protocol that
// the client wants instead of HTTP; empty for none.
func (p *Pool) request(x *airside.Exchange, m *member, upgrade string) (*http.Request, error) {
	in := x.Request
	out := &http.Request{
		Method: in.Method, URL: m.join(in.URL),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: m.header(in, upgrade), Host: p.hostFor(m, in),
	}
	if in.Body == nil || in.Body == http.NoBody || in.ContentLength == 0 {
		return out, nil
	}
	var err error
	if out.Trailer, err = announce(in, func(name string) bool { return hasName(out.Header, name, nothing) }); err != nil {
		return nil, err
	}
	out.ContentLength = in.ContentLength
	if len(in.Trailer) > 0 || in.ContentLength < 0 {
		out.ContentLength = -1
		out.TransferEncoding = []string{"chunked"} // also for methods that usually have no body
	}
	return out, nil
}

func nothing(string) bool { return false }

// hostFor is the host that the agent is asked for.
func (p *Pool) hostFor(m *member, in *http.Request) string {
	switch p.host {
	case HostUpstream:
		return m.host
	case HostPreserve:
		return in.Host
	}
	return p.host
}

// announce returns the names of the trailers that are sent on. Named says whether a
// header is sent under a name: a trailer must not say again, and otherwise, what a
// header has said.
func announce(in *http.Request, named func(name string) bool) (http.Header, error) {
	var out http.Header
	for k := range in.Trailer {
		if forbidden(k) || named(k) {
			return nil, airside.Errorf(airside.Invalid, "the request announces the trailer %.64s, which may not be one", k)
		}
		if out == nil {
			out = http.Header{}
		}
		out[k] = nil
	}
	return out, nil
}

// hasName reports whether h has the name, in any spelling that an agent may take for
// it, among those that are not dropped.
func hasName(h http.Header, name string, drop func(string) bool) bool {
	for k := range h {
		if web.Alias(k, name) && !drop(k) {
			return true
		}
	}
	return false
}

// trailers copies the trailers that were announced, when the body has ended. Those
// that come unannounced stay behind: nobody has looked at their names.
func trailers(out, in http.Header) {
	for k := range out {
		for _, v := range in[k] {
			if web.FieldValue(v) {
				out[k] = append(out[k], v)
			}
		}
	}
}

// join puts the base of the endpoint before a target. Both escaped forms go on byte
// for byte.
func (m *member) join(u *url.URL) *url.URL {
	out := &url.URL{
		Scheme: m.scheme, Host: m.host,
		Path: u.Path, RawPath: u.EscapedPath(), RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}
	if u.Path == "*" { // OPTIONS about the server as a whole
		return out
	}
	if m.path != "" {
		if !strings.HasPrefix(u.Path, "/") && u.Path != "" {
			out.Path, out.RawPath = "/"+out.Path, "/"+out.RawPath
		}
		out.Path, out.RawPath = m.path+out.Path, m.escaped+out.RawPath
	}
	return out
}

// prefix is join without a copy: what goes before a target, and the escaped target.
func (m *member) prefix(u *url.URL) (prefix, path string) {
	path = u.EscapedPath()
	switch {
	case u.Path == "*":
		return "", path
	case m.escaped != "" && u.Path != "" && u.Path[0] != '/':
		return m.escaped + "/", path
	}
	return m.escaped, path
}

// wantsTrailers reports whether the client takes trailers.
func wantsTrailers(h http.Header) bool {
	te, ok := h["Te"]
	return ok && strings.Contains(strings.ToLower(strings.Join(te, ",")), "trailers")
}

// header copies the header with its values, without what is about the client's
// connection, and with what is about the one to the agent. A trip that was given up over
// HTTP/2 may be writing it still when the memory of the values serves another request.
func (m *member) header(in *http.Request, upgrade string) http.Header {
	h := in.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for _, k := range hopByHop {
		delete(h, k)
	}
	wants := wantsTrailers(h)
	delete(h, "Te")
	if wants {
		h["Te"] = []string{"trailers"}
	}
	switch {
	case upgrade != "":
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	case wants && (m.protocol == H1 || m.protocol == Auto && m.scheme == "http"):
		h["Connection"] = []string{"TE"} // RFC 9110 section 10.1.4
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // or net/http names itself
	}
	if _, ok := h["X-Idempotency-Key"]; !ok && Repeatable(in) {
		h["X-Idempotency-Key"] = []string{} // is not sent, but makes net/http repeat what an idle connection swallowed
	}
	return h
}

// forbidden reports whether a field may not be a trailer, in any spelling that an agent
// may take for it.
func forbidden(trailer string) bool {
	same := func(name string) bool { return web.Alias(name, trailer) }
	return slices.ContainsFunc(framing[:], same) || slices.ContainsFunc(hopByHop[:], same)
}
