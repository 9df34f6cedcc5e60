package canon

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// StripForwarded removes the headers by which a proxy tells an agent who the
// client is: its address, the scheme, host and path it asked for, its
// certificate, and the user that was authenticated. A client that is not a
// trusted proxy may not bring them; an agent would believe them. Every spelling
// goes: whatever the case, and with underscores or other punctuation for hyphens.
//
// The lists are of names that a common server, framework or proxy believes, and
// mostly stand for an advisory each (Traefik CVE-2024-45410, -2026-29054 and
// -2026-35051, oauth2-proxy CVE-2025-64484 and CVE-2026-40575, Caddy
// CVE-2026-30851, the RealIP middleware of chi, Next.js CVE-2025-29927):
//   - addresses: Forwarded (RFC 7239) and whatever begins with it,
//     X-Forwarded..., X-Real-..., X-Client-Ip, True-Client-Ip, X-Cluster-Client-Ip
//     and those of the content networks (Cf-Connecting-Ip, Fastly-Client-Ip, X-Azure-Clientip),
//   - the target before a rewrite: X-Original-..., X-Rewrite-..., X-Host,
//     X-Http-Host-Override, X-Scheme, Front-End-Https,
//   - certificates: Client-Cert and Client-Cert-Chain, which RFC 9440 section 4
//     requires to be removed, and the names of nginx, HAProxy and Azure,
//   - users: Remote-..., X-Remote-... (Kubernetes), X-Auth-Request-...
//     (oauth2-proxy), X-Amzn-Oidc-..., X-Goog-Iap-..., X-Ms-Client-Principal...,
//     X-Consumer-... (Kong), Oidc-... (mod_auth_openidc) and their like,
//   - internals of a mesh: X-Envoy-..., X-Airside-..., X-Middleware-Subrequest.
//
// Credentials that a client brings for itself (Authorization, X-Api-Key,
// X-Goog-Api-Key, X-Auth-Token) stay.
func StripForwarded(h http.Header) {
	for name := range h {
		if forwarded(canonicalName(name)) {
			delete(h, name)
		}
	}
}

// onlyProxies lists the beginnings of the names that StripForwarded removes.
var onlyProxies = listNames(
	"Ali-Cdn-Real-Ip", "Cdn-Client-Ip", "Cdn-Real-Ip", "Cdn-Src-Ip", "Cf-Access-Authenticated-", "Cf-Access-Jwt-",
	"Cf-Connecting-", "Cf-Ip", "Cf-Pseudo-", "Cf-Visitor", "Client-Cert", "Client-Ip", "Fastly-Client", "Fastly-Ssl",
	"Fly-Client-Ip", "Fly-Forwarded-", "Forwarded", "Front-End-Https", "Incap-Client-Ip", "Oidc-", "Proxy-Client-Ip",
	"Remote-", "Ssl-Client-", "True-Client-", "Wl-Proxy-", "X-Airside-", "X-Amzn-Mtls-", "X-Amzn-Oidc-",
	"X-Anonymous-Consumer", "X-Appengine-", "X-Arr-", "X-Auth-Email", "X-Auth-Groups", "X-Auth-Request-", "X-Auth-Roles",
	"X-Auth-User", "X-Authenticated-", "X-Authentik-", "X-Azure-Clientip", "X-Azure-Socketip", "X-Client-Cert",
	"X-Client-Dn", "X-Client-Ip", "X-Client-Verify", "X-Cluster-Client", "X-Consumer-", "X-Credential-Identifier",
	"X-Envoy-", "X-Forwarded", "X-Goog-Authenticated-User", "X-Goog-Iap-", "X-Http-Host-Override", "X-Incap-Client",
	"X-Istio-Attributes", "X-Middleware-Subrequest", "X-Ms-Client-Principal", "X-Ms-Token-", "X-Nf-Client-Connection-Ip",
	"X-Original-", "X-Originating-", "X-Pomerium-", "X-Proxyuser-Ip", "X-Real-", "X-Remote-", "X-Rewrite-", "X-Ssl-",
	"X-Sucuri-Client", "X-Vercel-", "X-Vouch-", "X-Webauth-",
)

// forwarded reports whether name, which is canonical, is one that only a proxy
// may set.
func forwarded(name string) bool {
	return onlyProxies.begin(name) || name == "X-Host" || name == "X-Scheme" || name == "X-Url-Scheme"
}

// A nameList holds beginnings of canonical names, sorted, none of which begins
// another. at says where those of each first letter start.
type nameList struct {
	names []string
	at    ['Z' - 'A' + 2]int
}

func listNames(names ...string) nameList {
	l := nameList{names: names}
	for i := range l.at {
		l.at[i], _ = slices.BinarySearch(names, string(rune('A'+i)))
	}
	return l
}

// begin reports whether name begins with one of the list: as none begins
// another, that can only be name itself, or what comes before it.
func (l *nameList) begin(name string) bool {
	if name == "" || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	c := name[0] - 'A'
	part := l.names[l.at[c]:l.at[c+1]]
	i, found := slices.BinarySearch(part, name)
	return found || i > 0 && strings.HasPrefix(name, part[i-1])
}

// hopByHop reports whether name is about one connection (RFC 9110 section 7.6.1)
// and goes no further. Proxy is no header at all, but becomes the variable
// HTTP_PROXY of a CGI program (CVE-2016-5385).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Proxy":
		return true
	}
	return false
}

// singletons lists the headers of which a request has one line at most; two
// readers of two lines may each believe another. Sorted.
var singletons = []string{
	"A2a-Version", "Access-Control-Request-Method", "Age", "Anthropic-Version", "Api-Key", "Authorization",
	"Content-Disposition", "Content-Length", "Content-Location", "Content-Md5", "Content-Range", "Content-Type",
	"Date", "Dpop", "Expect", "From", "Host", "Http2-Settings", "Idempotency-Key",
	"If-Modified-Since", "If-Range", "If-Unmodified-Since", "Last-Event-Id", "Max-Forwards",
	"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id", "Origin",
	"Proxy-Authorization", "Range", "Referer", "Sec-Websocket-Key", "Sec-Websocket-Version", "User-Agent",
	"X-Api-Key", "X-Auth-Token", "X-Csrf-Token", "X-Goog-Api-Key", "X-Http-Method-Override", "X-Request-Id",
}

func singleton(name string) bool {
	_, ok := slices.BinarySearch(singletons, name)
	return ok
}

// endToEnd lists the beginnings of names, singletons aside, that are for the
// agent, so that Connection must not name them.
var endToEnd = listNames(
	"A2a-", "Accept", "Access-Control-", "Allow", "Anthropic-", "Baggage", "Cache-Control", "Content-", "Cookie", "Dnt",
	"Grpc-", "If-", "Link", "Mcp-", "Openai-", "Pragma", "Prefer", "Priority", "Sec-", "Set-Cookie", "Signature",
	"Traceparent", "Tracestate", "Vary", "Via", "Warning", "Www-Authenticate", "X-Amz-", "X-Goog-",
)

// guarded reports whether name, which is canonical, means something to the
// gateway or to every agent, so that it must have one spelling and stay where it
// is.
func guarded(name string) bool {
	return forwarded(name) || singleton(name) || endToEnd.begin(name)
}

// canonicalName is the name that a reader sees who folds case and takes
// punctuation for a hyphen: CGI and its heirs make X_User, x.user and X-User one
// variable. It does not allocate for a name that is spelled well.
func canonicalName(name string) string {
	if wellSpelled(name) {
		return name
	}
	folded := []byte(name)
	for i, c := range folded {
		if !alphanumeric(c) {
			folded[i] = '-'
		}
	}
	return textproto.CanonicalMIMEHeaderKey(string(folded))
}

// wellSpelled reports whether name is in the case of [http.CanonicalHeaderKey]
// and of letters, digits and hyphens. It has one step for each byte and no branches,
// since every name of every request comes by.
func wellSpelled(name string) bool {
	wrong, at := uint8(0), uint8(atStart)
	for i := range len(name) {
		k := spelling[name[i]]
		wrong |= k & at
		at = k >> nextShift
	}
	return wrong == 0
}

// The spelling of a byte says, in its low half, where in a word it is wrong, and in
// its high half, where the byte after it stands.
const (
	atStart   = 1
	inside    = 2
	nextShift = 4
)

var spelling = spellings()

func spellings() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case 'A' <= c && c <= 'Z':
			t[i] = inside | inside<<nextShift
		case 'a' <= c && c <= 'z':
			t[i] = atStart | inside<<nextShift
		case '0' <= c && c <= '9':
			t[i] = inside << nextShift
		case c == '-':
			t[i] = atStart << nextShift
		default:
			t[i] = atStart | inside | inside<<nextShift
		}
	}
	return t
}
