package headers

import (
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// checkName refuses what is not the name of a header that can be changed.
func checkName(field, name string) error {
	switch {
	case !token(name):
		return airside.FieldErrorf(field, "%q is not the name of a header", name)
	case sameHeader(name, "Host"):
		return airside.FieldErrorf(field, "the host is changed by the policy rewrite, or by the upstream")
	case framing(name):
		return airside.FieldErrorf(field, "%s belongs to the connection, and the gateway sets it", name)
	}
	return nil
}

func checkRemoved(i int, name string) error {
	field := "remove[" + strconv.Itoa(i) + "]"
	prefix, ok := strings.CutSuffix(name, "*")
	if !ok {
		return checkName(field, name)
	}
	if !token(prefix) || strings.Contains(prefix, "*") {
		return airside.FieldErrorf(field, "write the beginning of a name before the *, such as X-Debug-*")
	}
	return nil
}

func checkValues(field string, values map[string]Value) []error {
	var errs []error
	names := slices.Sorted(maps.Keys(values))
	for i, name := range names {
		at, v := field+"."+name, values[name]
		errs = append(errs, checkName(at, name))
		if v.Text != "" && v.CEL != "" {
			errs = append(errs, airside.FieldErrorf(at, "give text or cel, not both"))
		}
		if !printable(v.Text) {
			errs = append(errs, airside.FieldErrorf(at, "a header holds no control characters"))
		}
		for _, other := range names[:i] {
			if sameHeader(name, other) {
				errs = append(errs, airside.FieldErrorf(at, "is the same header as %s", other))
			}
		}
	}
	return errs
}

func sameHeader(a, b string) bool { return web.Alias(a, b) }

// token is RFC 9110 section 5.6.2.
func token(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}) < 0
}

// printable reports whether a header can hold s (RFC 9110 section 5.5).
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// framing reports whether the header belongs to the connection or says where a
// message ends, in whatever spelling.
func framing(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")) {
	case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}
