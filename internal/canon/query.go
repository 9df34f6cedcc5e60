package canon

import "strings"

func queryClasses() (t [256]class) {
	for i := range t {
		c := byte(i)
		switch {
		case c <= ' ' || c >= 0x7f || c == '#':
			t[i] = bad
		case c == '%':
			t[i] = percent
		}
	}
	return t
}

// Query refuses a query, the part of a request target after the "?", that cannot
// be passed on safely: one with control characters, "#", a space or bytes beyond
// ASCII, all of which must be percent-encoded; with a malformed escape, which
// some readers drop and others take literally; or with an encoded NUL, at which
// readers written in C stop.
//
// Everything else is passed on as it came: characters that RFC 3986 does not
// allow but browsers send ("[]{}|^" and the like), encoded line ends, bytes that
// are no UTF-8, and semicolons, which are no separators.
func Query(raw string) error {
	var seen class
	for i := range len(raw) {
		seen |= queryBytes[raw[i]]
	}
	if seen&bad != 0 {
		return badByte("query", raw, &queryBytes)
	}
	if seen&percent == 0 {
		return nil
	}
	for at := 0; ; at += 3 {
		i := strings.IndexByte(raw[at:], '%')
		if i < 0 {
			return nil
		}
		at += i
		if at+2 >= len(raw) || !hexDigit(raw[at+1]) || !hexDigit(raw[at+2]) {
			return refuse("the query has a %% at byte %d that no two hexadecimal digits follow; send %%25 for a percent sign", at)
		}
		if raw[at+1] == '0' && raw[at+2] == '0' {
			return refuse("the query has an encoded NUL at byte %d; leave it out", at)
		}
	}
}
