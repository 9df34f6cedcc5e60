package compress

import (
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// An answer is what the client asked for.
type answer int

const (
	plain      answer = iota // gzip is refused, or liked less
	packed                   // gzip is liked no less than identity
	packedOnly               // and identity is refused
)

// negotiate reads Accept-Encoding, RFC 9110 section 12.5.3. No header, though
// anything would be allowed, means plain: who can unpack says so. Of a coding that
// is listed twice the first one counts, and what is not well formed is not read.
func negotiate(h http.Header) answer {
	gzip, identity, star := -1, -1, -1
	for item := range tokens(h, "Accept-Encoding") {
		name, weight, ok := weighted(item)
		if !ok {
			continue
		}
		switch {
		case (strings.EqualFold(name, "gzip") || strings.EqualFold(name, "x-gzip")) && gzip < 0:
			gzip = weight
		case strings.EqualFold(name, "identity") && identity < 0:
			identity = weight
		case name == "*" && star < 0:
			star = weight
		}
	}
	if gzip < 0 {
		gzip = star
	}
	if identity < 0 {
		identity = star
	}
	switch {
	case gzip <= 0 || gzip < identity:
		return plain
	case identity == 0:
		return packedOnly
	}
	return packed
}

// weighted reads "name;q=0.5"; the weight is in thousandths.
func weighted(item string) (name string, weight int, ok bool) {
	name, params, has := strings.Cut(item, ";")
	name = strings.TrimSpace(name)
	if !has {
		return name, 1000, name != ""
	}
	key, value, _ := strings.Cut(params, "=")
	if !strings.EqualFold(strings.TrimSpace(key), "q") {
		return "", 0, false
	}
	weight, ok = thousandths(strings.TrimSpace(value))
	return name, weight, ok && name != ""
}

// thousandths reads a qvalue, RFC 9110 section 12.4.2: 0 to 1 with at most three
// decimals.
func thousandths(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+decimals+"000"[len(decimals):], 10, 16)
	return int(n), err == nil && n <= 1000
}

// tokens yields the elements of a header that is a list.
func tokens(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h[name] {
			for token := range strings.SplitSeq(line, ",") {
				if token = strings.TrimSpace(token); token != "" && !yield(token) {
					return
				}
			}
		}
	}
}

// encoded reports whether a body is compressed already.
func encoded(h http.Header) bool {
	for coding := range tokens(h, "Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return true
		}
	}
	return false
}

// noTransform reports whether the sender forbids what we do, RFC 9111 sections
// 5.2.1.6 and 5.2.2.6.
func noTransform(h http.Header) bool {
	for directive := range tokens(h, "Cache-Control") {
		if strings.EqualFold(directive, "no-transform") {
			return true
		}
	}
	return false
}

func mediaType(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// isGRPC reports whether the body is framed by gRPC, which compresses each of its
// messages if it wants to.
func isGRPC(h http.Header) bool { return strings.HasPrefix(mediaType(h), "application/grpc") }

// hasType reports whether the type of a body is one of the list.
func (p *policy) hasType(h http.Header) bool {
	media := mediaType(h)
	for _, t := range p.Types {
		if fits(media, strings.ToLower(t)) {
			return true
		}
	}
	return false
}

// fits reports whether media is of the type, of the group, or has the suffix.
func fits(media, t string) bool {
	if t[0] == '+' {
		return strings.HasSuffix(media, t) && len(media) > len(t)
	}
	if group, all := strings.CutSuffix(t, "*"); all {
		return strings.HasPrefix(media, group)
	}
	return media == t
}

// validType reports whether t is type/subtype, type/* or +suffix.
func validType(t string) bool {
	suffix, is := strings.CutPrefix(t, "+")
	if is {
		return token(suffix)
	}
	group, subtype, _ := strings.Cut(t, "/")
	return token(group) && (subtype == "*" || token(subtype))
}

// token reports whether s is a token without an asterisk, RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte("!#$%&'+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
