package canon

import (
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
)

func TestMethod(t *testing.T) {
	for _, m := range append(methods[:], "PROPFIND", "M-SEARCH", "x-own", "Purge") {
		if err := Method(m); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	for m, says := range map[string]string{
		"get": "send GET", "Post": "send POST", "pATCH": "send PATCH", "trace": "send TRACE", "connect": "send CONNECT",
		"": "not one word", "GE T": "not one word", "GET\r\nX: y": "not one word", "G\u00c9T": "not one word", "GET/": "not one word", "a:b": "not one word",
	} {
		err := Method(m)
		if err == nil || !strings.Contains(err.Error(), says) || airside.AsError(err).Code != airside.Invalid {
			t.Errorf("%q: got %v, want %q", m, err, says)
		}
	}
}
