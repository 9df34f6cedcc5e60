package edge

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
	"github.com/airside-gateway/airside/proto/web"
)

// requestID is the header that carries the id of an exchange, both ways.
const requestID = "X-Request-Id"

// admit makes the request canonical, once, for everybody: method, host, path,
// query, client address, forwarding headers. What is ambiguous is refused and
// never repaired, because the agent might repair it differently.
func (e *exchange) admit() error {
	r, x := e.x.Request, e.x
	e.method, e.host = r.Method, r.Host
	e.path, _, _ = strings.Cut(r.RequestURI, "?") // as it came, until it is canonical
	peer, addr := e.peer()
	trusted := e.listener.trusts(peer)
	x.ID = e.identify(trusted)
	x.Client = airside.Client{Addr: addr, Scheme: "http"}
	if r.TLS != nil {
		x.Client.Scheme = "https"
	}
	if e.informs == nil {
		e.informs = e.inform
	}
	x.Inform = e.informs
	e.trace()
	// HTTP/1.0 has no Transfer-Encoding, and net/http drops one without a word: where
	// such a request ends, the client and we may not agree (RFC 9112 section 6.1).
	e.closes = r.ProtoMajor == 1 && r.ProtoMinor == 0
	if err := checkMethod(r.Method); err != nil {
		return err
	}
	if err := e.target(); err != nil {
		return err
	}
	found, err := canon.Headers(r.Header)
	if err != nil {
		return err
	}
	if err := checkTrailers(r); err != nil {
		return err
	}
	if err := e.checkLength(); err != nil {
		return err
	}
	upgrade := ""
	if found.HopByHop {
		if upgrade, err = canon.StripHopByHop(r.Header); err != nil {
			return err
		}
	}
	if err := e.forwarded(peer, addr, trusted, found.Vouched); err != nil {
		return err
	}
	if upgrade != "" && r.ProtoMajor == 1 && e.body == nil { // a body and what follows an upgrade cannot be told apart on a connection that is handed over
		r.Header.Set("Upgrade", upgrade)
	}
	e.values[3] = x.ID
	r.Header[requestID] = e.values[3:4:4]
	return nil
}

// peer is the address of the other end of the connection, and as it is written.
func (e *exchange) peer() (netip.Addr, string) {
	if e.fast != nil {
		return e.fast.Peer()
	}
	a := peerAddr(e.x.Request.RemoteAddr)
	return a, a.String()
}

// checkMethod refuses methods that have no canonical form, and those that are not for
// a gateway: CONNECT, and TRACE, whose answer shows the request as the agent got it,
// and so the credentials that the gateway has added.
func checkMethod(m string) error {
	if err := canon.Method(m); err != nil {
		return err
	}
	var why string
	switch m {
	case http.MethodConnect:
		why = "this gateway is no tunnel: CONNECT is not allowed"
	case http.MethodTrace:
		why = "TRACE is not allowed: its answer would show what the gateway sends to the agent"
	default:
		return nil
	}
	return &airside.Error{Code: airside.MethodNotAllowed, Message: why, Header: http.Header{"Allow": {allowed}}}
}

// allowed are the usual methods of those that are not refused, RFC 9110 section
// 15.5.6.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// checkTrailers refuses trailers that announce what a client may not say in a header
// either: an agent may take the one for the other.
func checkTrailers(r *http.Request) error {
	if len(r.Trailer) == 0 {
		return nil
	}
	announced := make(http.Header, len(r.Trailer))
	for k := range r.Trailer {
		if !web.Token(k) {
			return airside.Errorf(airside.Invalid, "the request announces a trailer whose name is no token")
		}
		announced[k] = []string{""}
	}
	if canon.StripForwarded(announced); len(announced) != len(r.Trailer) {
		return airside.Errorf(airside.Invalid, "the request announces a trailer that only the gateway may send as a header")
	}
	return nil
}

// checkLength refuses a Content-Length of HTTP/2 or HTTP/3 that is malformed, or not that
// of the body (RFC 9113 section 8.1.1). There it does not say how the message is read, and
// net/http makes one that it cannot read a length of 0; but an agent that speaks HTTP/1.1
// gets a length.
func (e *exchange) checkLength() error {
	r := e.x.Request
	lines := r.Header["Content-Length"]
	if len(lines) == 0 || r.ProtoMajor == 1 {
		return nil
	}
	n, err := strconv.ParseUint(lines[0], 10, 63)
	if err != nil || n != uint64(max(r.ContentLength, 0)) {
		return airside.Errorf(airside.Invalid, "the Content-Length is malformed, or not the length of the body")
	}
	if n > 0 || e.body == nil {
		return nil
	}
	var one [1]byte
	switch _, err := io.ReadFull(e.body, one[:]); {
	case err == nil:
		return airside.Errorf(airside.Invalid, "the Content-Length is 0, but there is a body")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// target makes host, path and query canonical.
func (e *exchange) target() error {
	r := e.x.Request
	host, err := canon.Host(r.Host)
	if err != nil {
		return err
	}
	if err := oneHost(r, host); err != nil {
		return err
	}
	if r.TLS != nil && r.TLS.ServerName != "" && !sameHost(r.TLS.ServerName, host) {
		return airside.Errorf(airside.Misdirected, "the Host header names another host than the TLS handshake did; use one connection a host")
	}
	target, err := origin(r, host)
	if err != nil {
		return err
	}
	escaped, query, hasQuery := strings.Cut(target, "?")
	path, raw, err := canon.Path(escaped)
	if err != nil {
		return err
	}
	if err := canon.Query(query); err != nil {
		return err
	}
	r.Host = host
	if r.URL == nil {
		r.URL = new(url.URL)
	}
	*r.URL = url.URL{Path: path, RawPath: raw, RawQuery: query, ForceQuery: hasQuery && query == ""}
	if r.URL.EscapedPath() != raw && raw != "" {
		return airside.Errorf(airside.Invalid, "the path has no canonical form")
	}
	e.host, e.path = host, path
	return nil
}

// origin is the target in origin-form. HTTP/1 has the absolute-form too (RFC 9112 section
// 3.2.2): it names the host once more, and a scheme that is one of HTTP.
func origin(r *http.Request, host string) (string, error) {
	target := r.RequestURI
	scheme, rest, absolute := strings.Cut(target, "://")
	if !absolute || target[0] == '/' || r.ProtoMajor != 1 {
		return target, nil
	}
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", airside.Errorf(airside.Invalid, "the target is neither a path nor a URL of the scheme http or https")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if named, err := canon.Host(rest[:end]); err != nil || named != host {
		return "", airside.Errorf(airside.Invalid, "the target names another host than the request is for, or a user")
	}
	if target = rest[end:]; target == "" || target[0] == '?' {
		target = "/" + target
	}
	return target, nil
}

// oneHost takes the header Host away that HTTP/2 allows beside :authority, if both say
// the same (RFC 9113 section 8.3.1).
func oneHost(r *http.Request, host string) error {
	for _, line := range r.Header["Host"] {
		if named, err := canon.Host(line); err != nil || named != host {
			return airside.Errorf(airside.Invalid, "the Host header names another host than :authority does; leave it out")
		}
	}
	if len(r.Header["Host"]) == 1 { // more are refused with the other headers
		delete(r.Header, "Host")
	}
	return nil
}

// sameHost reports whether the host of an authority is the name that the TLS
// handshake asked for.
func sameHost(serverName, authority string) bool {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.EqualFold(strings.TrimSuffix(serverName, "."), host)
}

// forwarded finds the client's address, and replaces whatever forwarding headers
// came, if any did, by the gateway's own. Those of a trusted proxy are believed.
func (e *exchange) forwarded(peer netip.Addr, addr string, trusted, vouched bool) error {
	r := e.x.Request
	chain, host := addr, r.Host
	if trusted {
		client, err := canon.Client(peer, r.Header, e.listener.Trust)
		if err != nil {
			return err
		}
		e.x.Client.Addr = client.String()
		if via := r.Header.Values("X-Forwarded-For"); len(via) > 0 {
			chain = strings.Join(via, ", ") + ", " + chain
		}
		if proto := strings.ToLower(r.Header.Get("X-Forwarded-Proto")); proto == "http" || proto == "https" {
			e.x.Client.Scheme = proto
		}
		if h, err := canon.Host(r.Header.Get("X-Forwarded-Host")); err == nil {
			host = h
		}
	}
	if vouched {
		canon.StripForwarded(r.Header)
	}
	own := &e.values // no alias is left that would have to go
	own[0], own[1], own[2] = chain, e.x.Client.Scheme, host
	r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-Host"] = own[0:1:1], own[1:2:2], own[2:3:3]
	return nil
}

// identify returns the id of the exchange: that of a trusted proxy, or a new one
// of 128 random bits. It need not be secret, so it is not drawn from the system.
func (e *exchange) identify(trusted bool) string {
	if ids := e.x.Request.Header[requestID]; trusted && len(ids) == 1 && plainID(ids[0]) {
		return ids[0]
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // an id for logs, not a secret
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // an id for logs, not a secret
	return hex.EncodeToString(b[:])
}

func plainID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return ap.Addr().Unmap().WithZone("")
}

// redirect answers a request that came unencrypted with the same address by
// https. 308 keeps method and body.
func (e *exchange) redirect() *http.Response {
	host := e.x.Request.Host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if p := e.listener.RedirectPort; p != 0 && p != 443 {
		host += ":" + strconv.Itoa(p)
	}
	h := http.Header{"Location": {"https://" + host + e.x.Request.URL.RequestURI()}, "Content-Length": {"0"}}
	return web.Response(e.x, http.StatusPermanentRedirect, h, nil)
}

// inform sends a 1xx answer ahead of the real one. How many of them an agent may
// send, the upstream bounds.
func (e *exchange) inform(status int, h http.Header) {
	if status <= 101 || status > 199 || e.x.Request.ProtoMajor == 1 && e.x.Request.ProtoMinor == 0 {
		return
	}
	out := e.w.Header()
	maps.Copy(out, h)
	out["Content-Length"] = []string{"0"} // is not sent; but it makes HTTP/2 take a copy of the map, which it may read later than now
	var slow alarm
	if e.fast == nil {
		slow = alarm{after: e.listener.Limits.WriteTimeout, ring: e.gate.endWrite}
	}
	slow.arm()
	e.w.WriteHeader(status)
	slow.disarm()
	clear(out)
}

// Canonical makes r, which is as a server receives it, canonical as the first of ls
// that serves its scheme would, and returns the exchange. It is for explaining what
// would happen; nothing is answered.
func Canonical(r *http.Request, ls []*Listener) (*airside.Exchange, error) {
	l := listenerFor(r, ls)
	e := &exchange{listener: l, x: airside.NewExchange(r, slog.New(slog.DiscardHandler)), start: time.Now(), major: r.ProtoMajor}
	if err := e.admit(); err != nil {
		return nil, err
	}
	return e.x, nil
}

// Redirected reports whether the listener of ls that r comes to sends every request to
// https.
func Redirected(r *http.Request, ls []*Listener) bool { return listenerFor(r, ls).Redirect }

// listenerFor is the listener that r comes to: of those that serve its scheme the one
// with its port, or the first.
func listenerFor(r *http.Request, ls []*Listener) *Listener {
	var found *Listener
	_, port, _ := net.SplitHostPort(r.Host) // without a port: any
	for _, l := range ls {
		if (l.TLS != nil) != (r.TLS != nil) {
			continue
		}
		if _, p, err := net.SplitHostPort(l.Address); err == nil && p == port {
			return l
		}
		if found == nil {
			found = l
		}
	}
	if found == nil {
		return &Listener{}
	}
	return found
}
