package canon

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A class says what the scan of a path or a query has to do about a byte. The
// classes of all bytes are joined with |, so that a plain path costs one pass.
type class uint8

const (
	odd     class = 1 << iota // allowed as it is, but [url.URL] would encode it
	percent                   // begins an escape
	bad                       // refused
)

// pathBytes holds the class of every byte of a path: pchar and "/" of RFC 3986
// section 3.3. queryBytes holds those of a query.
var pathBytes, queryBytes = pathClasses(), queryClasses()

func pathClasses() (t [256]class) {
	for i := range t {
		c := byte(i)
		switch {
		case unreserved(c), strings.IndexByte("/$&+,:=@", c) >= 0:
		case strings.IndexByte("!'()*", c) >= 0:
			t[i] = odd
		case c == '%':
			t[i] = percent
		default:
			t[i] = bad
		}
	}
	return t
}

// Path makes the path of a request target canonical. escaped is the part before
// the "?", as the client sent it.
//
// The path is decoded; rawpath is its canonical escaped form, or empty where
// that is the default encoding of [net/url], so that path and rawpath are the
// Path and RawPath of a [url.URL] whose EscapedPath is the canonical form. Path
// of that form gives the same again. It does not allocate for a path that has no
// percent sign.
//
// Refused is every path that another reader (a CGI or servlet container, a file
// system, a second decoder) could take for another:
//   - one that is empty or does not begin with "/",
//   - "//", and the segments "." and "..", also where they arise by decoding,
//   - a semicolon raw or encoded: servlet containers cut ";parameters" off before
//     they route and authorise, so that /admin;x/y is /admin/y to them,
//   - an encoded slash, a backslash raw or encoded,
//   - control characters raw or encoded, C1 (U+0080 to U+009F) included,
//   - a malformed escape, and escapes that are no UTF-8 (overlong forms),
//   - an encoded percent sign before two hexadecimal digits (double encoding),
//   - what RFC 3986 does not allow in a path: "#", a space, any of "<>[]^`{|} and
//     the double quote, bytes beyond ASCII.
func Path(escaped string) (path, rawpath string, err error) {
	if escaped == "" || escaped[0] != '/' {
		return "", "", refuse("the path must begin with a slash")
	}
	var seen class
	for i := range len(escaped) {
		seen |= pathBytes[escaped[i]]
	}
	path = escaped
	switch {
	case seen&bad != 0:
		return "", "", badByte("path", escaped, &pathBytes)
	case seen&percent != 0:
		if path, rawpath, err = decode(escaped); err != nil {
			return "", "", err
		}
	case seen&odd != 0:
		rawpath = escaped
	}
	if err := segments(path); err != nil {
		return "", "", err
	}
	return path, rawpath, nil
}

// badByte describes the first byte of s that t calls bad.
func badByte(part, s string, t *[256]class) error {
	i := 0
	for t[s[i]]&bad == 0 {
		i++
	}
	switch c := s[i]; {
	case c < ' ' || c == 0x7f:
		return refuse("the %s has a control character at byte %d; leave it out", part, i)
	case c == '\\':
		return refuse("the %s has a backslash at byte %d; paths are separated by slashes", part, i)
	case c == ';':
		return semicolon(i)
	case c == '#':
		return refuse("the %s has a # at byte %d; a fragment is not sent to a server", part, i)
	case c >= utf8.RuneSelf:
		return refuse("the %s has a byte beyond ASCII at byte %d; percent-encode it as UTF-8", part, i)
	default:
		return refuse("the %s has a %q at byte %d; percent-encode it", part, c, i)
	}
}

// semicolon refuses the one at byte i of a path.
func semicolon(i int) error {
	return refuse("the path has a semicolon at byte %d: some agents drop it and what follows up to the next slash, others do not; leave it out, or send the parameter in the query", i)
}

// decode resolves the escapes of s, of which there is at least one.
func decode(s string) (path, rawpath string, err error) {
	var decoded, canonical strings.Builder
	decoded.Grow(len(s))
	canonical.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			decoded.WriteByte(c)
			canonical.WriteByte(c)
			continue
		}
		if c, err = escape(s, i); err != nil {
			return "", "", err
		}
		decoded.WriteByte(c)
		if unreserved(c) {
			canonical.WriteByte(c)
		} else {
			canonical.WriteString(strings.ToUpper(s[i : i+3]))
		}
		i += 2
	}
	path, rawpath = decoded.String(), canonical.String()
	if err := checkDecoded(path); err != nil {
		return "", "", err
	}
	if (&url.URL{Path: path}).EscapedPath() == rawpath {
		rawpath = ""
	}
	return path, rawpath, nil
}

// escape reads the escape at s[i] and refuses what must not be hidden in one.
func escape(s string, i int) (byte, error) {
	if i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2]) {
		return 0, refuse("the path has a %% at byte %d that no two hexadecimal digits follow; send %%25 for a percent sign", i)
	}
	c := unhex(s[i+1])<<4 | unhex(s[i+2])
	switch {
	case c < ' ' || c == 0x7f:
		return 0, refuse("the path has an encoded control character at byte %d; leave it out", i)
	case c == ';':
		return 0, semicolon(i)
	case c == '/' || c == '\\':
		return 0, refuse("the path has an encoded %q at byte %d, which agents read in different ways; use another character", c, i)
	}
	return c, nil
}

// checkDecoded refuses what only shows after decoding, over more than one escape.
func checkDecoded(path string) error {
	if !utf8.ValidString(path) {
		return refuse("the path is not UTF-8 after percent-decoding")
	}
	for i, r := range path {
		if r == '%' && i+2 < len(path) && hexDigit(path[i+1]) && hexDigit(path[i+2]) {
			return refuse("the path is percent-encoded twice; encode it once")
		}
		if unicode.IsControl(r) {
			return refuse("the path has an encoded control character; leave it out")
		}
	}
	return nil
}

// segments refuses the segments of a decoded path that some readers take away.
func segments(path string) error {
	for i := range len(path) - 1 {
		if path[i] != '/' {
			continue
		}
		switch path[i+1] {
		case '/':
			return refuse("the path has an empty segment (//) before segment %d; send a single slash", strings.Count(path[:i+1], "/")+1)
		case '.':
			if name, _, _ := strings.Cut(path[i+1:], "/"); name == "." || name == ".." {
				return refuse("segment %d of the path is a dot segment, %q; send the path it stands for", strings.Count(path[:i+1], "/"), name)
			}
		}
	}
	return nil
}
