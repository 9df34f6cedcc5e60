package allow

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
)

var answer = airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
})

func build(t testing.TB, rule, message string) airside.Handler {
	t.Helper()
	var c Config
	c.Defaults()
	if err := c.UnmarshalText([]byte(rule)); err != nil {
		t.Fatal(err)
	}
	if message != "" {
		c.Message = message
	}
	m, err := New(&airside.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m(answer)
}

func exchange(target string, caller airside.Caller) *airside.Exchange {
	x := airside.NewExchange(httptest.NewRequest("GET", target, nil), slog.New(slog.DiscardHandler))
	x.Caller = caller
	return x
}

// TestAllow proves who passes, and what is said to who does not.
func TestAllow(t *testing.T) {
	var (
		nobody = airside.Caller{}
		doctor = airside.Caller{ID: "a", Claims: map[string]any{"roles": []any{"doctor"}}}
		porter = airside.Caller{ID: "b", Claims: map[string]any{"roles": []any{"porter"}}}
		plain  = airside.Caller{ID: "c"}
	)
	tests := []struct {
		rule    string
		target  string
		caller  airside.Caller
		want    airside.Code // empty: passes
		because string       // part of the cause
	}{
		{`"doctor" in caller.claims.roles`, "/", doctor, "", ""},
		{`"doctor" in caller.claims.roles`, "/", porter, airside.Denied, ""},
		{`"doctor" in caller.claims.roles`, "/", plain, airside.Denied, "no such key"},
		{`"doctor" in caller.claims.roles`, "/", nobody, airside.Unauthenticated, "no such key"},
		{`has(caller.id)`, "/", nobody, airside.Unauthenticated, ""},
		{`has(caller.id)`, "/", plain, "", ""},
		{`!has(caller.id)`, "/", nobody, "", ""},
		{`request.method == "POST"`, "/", nobody, airside.Denied, ""},
		{`request.path == "/a"`, "/a", nobody, "", ""},
		{`caller.claims.roles`, "/", doctor, airside.Denied, "is a list, where"},
		{`request.query.a == "1"`, "/?a=1", nobody, "", ""},
		{`request.query.a == "1" || true`, "/?a=1&a=2", nobody, airside.Invalid, ""},
		{`request.query.a == "1" || has(caller.id)`, "/?a=%zz", nobody, airside.Invalid, ""},
	}
	for _, tt := range tests {
		resp, err := build(t, tt.rule, "not here").Handle(exchange(tt.target, tt.caller))
		if tt.want == "" {
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s for %v: %v; want it to pass", tt.rule, tt.caller, err)
			}
			continue
		}
		e, ok := errors.AsType[*airside.Error](err)
		if !ok || e.Code != tt.want || resp != nil {
			t.Errorf("%s for %v: %v, %v; want code %s", tt.rule, tt.caller, resp, err, tt.want)
			continue
		}
		if tt.because != "" && (e.Err == nil || !strings.Contains(e.Err.Error(), tt.because)) {
			t.Errorf("%s for %v: cause %v; want %q", tt.rule, tt.caller, e.Err, tt.because)
		}
		if tt.want == airside.Denied && e.Message != "not here" {
			t.Errorf("%s: message %q; want the configured one", tt.rule, e.Message)
		}
		if tt.want == airside.Unauthenticated && e.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", tt.rule)
		}
	}
}

// TestBuild proves that a wrong rule is refused when the configuration is read.
func TestBuild(t *testing.T) {
	for rule, want := range map[string]string{
		`request.methd == "GET"`: `rule: column 8: request has no field "methd" (did you mean "method"?)`,
		`caller.id`:              `rule: the expression is a string, where a condition (true or false) is needed`,
		``:                       `rule: the expression is empty`,
	} {
		if _, err := New(&airside.Env{}, Config{Rule: rule}); err == nil || err.Error() != want {
			t.Errorf("New(%s): %v; want %s", rule, err, want)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	h := build(b, `call.target != "dispense" && "doctor" in caller.claims.roles`, "")
	x := exchange("/", airside.Caller{ID: "a", Claims: map[string]any{"roles": []any{"doctor"}}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
