package canon

import (
	"strings"

	"github.com/airside-gateway/airside/proto/web"
)

// methods are those that agents and the frameworks below them know by heart: of RFC
// 9110 section 9.3 and RFC 5789, and QUERY.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}

// Method refuses what is no name of a method (RFC 9110 section 9.1), and what is that
// of a known one in another case. Methods are case-sensitive; an agent that takes get
// for GET nevertheless would do what nobody has authorised. Other names pass.
func Method(m string) error {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH":
		return nil
	}
	if !web.Token(m) {
		return refuse("the method %q is not one word of letters, digits and hyphens", clip(m))
	}
	for _, known := range methods {
		if m != known && strings.EqualFold(m, known) {
			return refuse("the method %q is written in the wrong case; send %s", m, known)
		}
	}
	return nil
}
