package canon

import (
	"net/http"
	"strings"

	"github.com/airside-gateway/airside/proto/web"
)

// Headers makes the headers of a request canonical. Their keys must be in the
// form of [http.CanonicalHeaderKey], and the server must have refused names and
// values that RFC 9110 section 5 does not allow.
//
// Refused are:
//   - more than one line of a header that is no list (Authorization,
//     Content-Type, Host, If-Modified-Since, Mcp-Session-Id and so on), be the
//     lines equal or not,
//   - a second spelling of a header that the gateway or every agent relies on
//     (X_Forwarded_User, x.real.ip): agents that fold punctuation would
//     take it for that header.
//
// Names with punctuation that resemble none of these pass; a policy that sets a
// header removes what resembles it, see [web.SetHeader].
//
// Cookie lines, which HTTP/2 lets a client split, are joined by "; " in the
// order sent (RFC 9113 section 8.2.3). Nothing else is changed.
//
// vouched reports whether there is a header that [StripForwarded] would remove:
// without one, as from most clients, that need not be called.
func Headers(h http.Header) (found Found, err error) {
	var wrong string // the least name, so that the answer is the same each time
	for name, lines := range h {
		bad := len(lines) > 1 && singleton(name)
		switch {
		case harmless(name):
		case wellSpelled(name):
			found.Vouched = found.Vouched || forwarded(name)
			found.HopByHop = found.HopByHop || hopByHop(name)
		default:
			bad = bad || alias(name)
		}
		if bad && (wrong == "" || name < wrong) {
			wrong = name
		}
	}
	if wrong != "" {
		return found, wrongHeader(wrong)
	}
	if cookies := h["Cookie"]; len(cookies) > 1 {
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	return found, nil
}

// Found is what [Headers] has come by, so that nobody need look for what is not there.
type Found struct {
	Vouched  bool // headers that [StripForwarded] would remove
	HopByHop bool // headers that [StripHopByHop] would remove
}

// harmless reports whether name is one of those that most requests have, which mean
// nothing to a proxy. It only saves time.
func harmless(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Length", "Content-Type",
		"Cookie", "Mcp-Session-Id", "Origin", "Referer", "Traceparent", "Tracestate", "User-Agent", "X-Api-Key", "X-Request-Id":
		return true
	}
	return false
}

// wrongHeader phrases why Headers refuses name.
func wrongHeader(name string) error {
	if singleton(name) {
		return refuse("the header %s was sent more than once; send it once", name)
	}
	return refuse("the header %q can be mistaken for %s; leave it out or spell it so", clip(name), clip(canonicalName(name)))
}

// alias reports whether name, which is not well spelled, is another spelling of a name
// that matters.
func alias(name string) bool {
	n := canonicalName(name)
	return guarded(n) || hopByHop(n) || n == "Trailer"
}

// StripHopByHop removes from a request what was meant for the gateway alone (RFC
// 9110 section 7.6.1): Connection and every header that it names, Keep-Alive,
// Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, Transfer-Encoding,
// Upgrade, HTTP2-Settings, TE but for "trailers", and Proxy. It comes before
// anybody sets a header, so that a client cannot have that one removed. Trailer
// stays, as RFC 9110 has it, unless Connection names it.
//
// Connection must not name a header that is for the agent (Authorization,
// Cookie, Host, Content-Type, Cache-Control and so on) or that a proxy vouches
// for (X-Forwarded-For and so on): that is refused, as is what is no name.
// Several lines, any case and empty elements are understood. If the result is an
// error, h may be stripped in part.
//
// upgrade is the protocol to change to, in lower case, if Connection says
// "upgrade" and Upgrade is one protocol. It is empty otherwise, and for h2c:
// RFC 9113 has withdrawn that, and passing it on smuggles requests.
func StripHopByHop(h http.Header) (upgrade string, err error) {
	wanted := false
	err = eachOption(h, func(option, name string) error {
		switch {
		case name == "Upgrade":
			wanted = true
		case name == "Close", hopByHop(name):
		case guarded(name):
			return optionRefused(name)
		default:
			delete(h, http.CanonicalHeaderKey(option))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if wanted {
		upgrade = protocol(h["Upgrade"])
	}
	trailers := hasToken(h["Te"], "trailers")
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Transfer-Encoding", "Upgrade", "Http2-Settings", "Proxy", "Te",
	} {
		delete(h, name)
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	return upgrade, nil
}

// eachOption calls f with each option of Connection and its canonical name.
func eachOption(h http.Header, f func(option, name string) error) error {
	for _, line := range h["Connection"] {
		for rest, more := line, true; more; {
			var option string
			option, rest, more = strings.Cut(rest, ",")
			option = strings.Trim(option, " \t")
			if option == "" {
				continue
			}
			if !web.Token(option) {
				return refuse("Connection has %q, which is no name of a header", clip(option))
			}
			if err := f(option, optionName(option)); err != nil {
				return err
			}
		}
	}
	return nil
}

// optionName is canonicalName, without the cost for what most clients send.
func optionName(option string) string {
	switch option {
	case "close":
		return "Close"
	case "keep-alive":
		return "Keep-Alive"
	case "upgrade":
		return "Upgrade"
	}
	return canonicalName(option)
}

func optionRefused(name string) error {
	return refuse("Connection names %s, which is not about the connection; leave it out", clip(name))
}

// protocol is the one protocol that an Upgrade header names, or empty.
func protocol(lines []string) string {
	if len(lines) != 1 {
		return ""
	}
	name, version, ok := strings.Cut(lines[0], "/")
	if !web.Token(name) || ok && !web.Token(version) || strings.EqualFold(name, "h2c") {
		return ""
	}
	return strings.ToLower(lines[0])
}

// hasToken reports whether a list has an element that is t, whatever the case.
// Parameters such as ";q=1" are passed over.
func hasToken(lines []string, t string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			element, _, _ = strings.Cut(element, ";")
			if strings.EqualFold(strings.Trim(element, " \t"), t) {
				return true
			}
		}
	}
	return false
}
