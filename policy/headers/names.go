package headers

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// checkName refuses what is not the name of a header that can be changed.
func checkName(field, name string) error {
	switch {
	case !web.Token(name):
		return airside.FieldErrorf(field, "%q is not the name of a header", name)
	case sameHeader(name, "Host"):
		return airside.FieldErrorf(field, "the host is changed by the policy rewrite, or by the upstream")
	case web.Framing(name):
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
	if !web.Token(prefix) || strings.Contains(prefix, "*") {
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
		if !web.FieldValue(v.Text) {
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
