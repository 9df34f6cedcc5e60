package expr

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

// TestOutcome proves what an expression sees of an exchange that has ended, and that
// others do not see it.
func TestOutcome(t *testing.T) {
	x := &airside.Exchange{Request: httptest.NewRequest("GET", "http://h/a", nil)}
	after := Answer{Status: 502, Code: "upstream_failed", Took: 1500 * time.Millisecond}
	for src, want := range map[string]bool{
		`response.status >= 500`:                                  true,
		`response.status == 502 && took > duration("1s")`:         true,
		`took > duration("2s")`:                                   false,
		`request.path == "/a" && error.code == "upstream_failed"`: true,
	} {
		p, err := Compile(src, Bool, WithOutcome())
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := p.BoolAfter(x, after); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", src, got, err, want)
		}
	}
	for src, options := range map[string][]Option{
		`took > duration("1s")`:                       nil,
		`took > duration("1s") && true`:               {WithAnswer()},
		`took > duration("1s") && request.path == ""`: {Only("request")},
	} {
		if _, err := Compile(src, Bool, options...); err == nil || !strings.Contains(err.Error(), "took is not known here") {
			t.Errorf("%s: %v, want that took is not known here", src, err)
		}
	}
}
