package expr

import (
	"net/http"
	"testing"
)

// TestBoolAfter proves what an expression sees of an answer, and of an error instead.
func TestBoolAfter(t *testing.T) {
	x := exchange("/")
	again := Answer{Status: 409, Header: http.Header{"X-Again": {"1"}, "X-List": {"a", "b"}}}
	failed := Answer{Code: "timeout", Kind: "connect"}
	tests := []struct {
		src    string
		answer Answer
		want   bool
	}{
		{`response.status == 409 && response.headers["x-again"] == "1"`, again, true},
		{`response.status == 409 && response.headers["X-Again"] == "1"`, again, true},
		{`response.headers["x-list"] == "a, b" && "x-again" in response.headers`, again, true},
		{`response.headers.size() == 2`, again, true},
		{`response.status >= 500`, again, false},
		{`has(response.status) && !has(error.code)`, again, true},
		{`has(response.status) || "x-again" in response.headers`, failed, false},
		{`error.code == "timeout" && error.kind == "connect"`, failed, true},
		{`request.method == "POST"`, failed, true},
	}
	for _, tt := range tests {
		p, err := Compile(tt.src, Bool, WithAnswer())
		if err != nil {
			t.Errorf("%s: %v", tt.src, err)
			continue
		}
		if got, err := p.BoolAfter(x, tt.answer); err != nil || got != tt.want {
			t.Errorf("%s: got %t, %v, want %t", tt.src, got, err, tt.want)
		}
		if got, err := p.BoolAfter(x, Answer{}); tt.want && !p.Uses("request") && (err == nil) && got {
			t.Errorf("%s: got %t of another answer", tt.src, got)
		}
	}
}

// TestAnswerKnown proves that only who asks for it gets the variables of an answer, and
// that messages say so.
func TestAnswerKnown(t *testing.T) {
	tests := []struct {
		src     string
		options []Option
		want    string
	}{
		{`response.status == 1`, nil, "response is not known here"},
		{`error.code == ""`, []Option{Only("request")}, "error is not known here"},
		{`nothing.code == ""`, []Option{WithAnswer()}, `column 1: "nothing" is not known: there are request, call, caller, response, error`},
		{`response.code == ""`, []Option{WithAnswer()}, `column 9: response has no field "code": there are status, headers`},
	}
	for _, tt := range tests {
		if _, err := Compile(tt.src, Bool, tt.options...); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.src, err, tt.want)
		}
	}
}
