package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

func TestFail(t *testing.T) {
	x := airside.NewExchange(httptest.NewRequest("GET", "/", http.NoBody), nil)
	x.ID = "id-1"
	e := &airside.Error{
		Code: airside.RateLimited, Message: "slow down", RetryAfter: 1500 * time.Millisecond,
		Header: http.Header{"X-A": {"b"}}, Err: errors.New("the inside"),
	}
	resp := Protocol{}.Fail(x, e)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got Problem
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := Problem{Type: "about:blank", Title: "Too many requests", Status: 429, Detail: "slow down", Code: "rate_limited", Request: "id-1"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, want := range map[string]string{"Retry-After": "2", "X-A": "b", "Content-Type": "application/problem+json", "Cache-Control": "no-store"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if resp.StatusCode != 429 || resp.ContentLength != int64(len(b)) {
		t.Errorf("got %d with length %d, want 429 with %d", resp.StatusCode, resp.ContentLength, len(b))
	}
}

func TestSetHeaderRemovesAliases(t *testing.T) {
	h := http.Header{"X-User": {"a", "b"}, "x-USER": {"d"}, "X-Users": {"stays"}, "X--User": {"stays"}}
	for _, c := range "!#$%&'*+.^_`|~" { // what a name may have beside letters and digits
		h["X"+string(c)+"user"] = []string{"forged"}
		h["X"+string(c)+"User"] = []string{"forged"}
	}
	SetHeader(h, "x-user", "ours")
	if got := h["X-User"]; len(got) != 1 || got[0] != "ours" || len(h) != 3 {
		t.Errorf("got %v", h)
	}
}

func TestAlias(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"X-User", "x_user", true},
		{"X-User", "X.uSER", true},
		{"X~User", "X!User", true},
		{"X-User", "X-User", true},
		{"", "", true},
		{"X-User", "XxUser", false},
		{"X-User", "X0User", false},
		{"X-User", "X-Use", false},
		{"X-User1", "X-User2", false},
	} {
		if got := Alias(tt.a, tt.b); got != tt.want {
			t.Errorf("Alias(%q, %q) is %v", tt.a, tt.b, got)
		}
	}
}

// Setting a header costs the one value, however many others there are.
func BenchmarkSetHeader(b *testing.B) {
	h := http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Authorization": {"Bearer x"}, "Content-Length": {"12"}, "Content-Type": {"application/json"},
		"Origin": {"https://a"}, "User-Agent": {"x"}, "Traceparent": {"00-x"}, "X-Request-Id": {"1"}, "X-Remote-User": {"a"}, "X-Custom-User": {"a"},
	}
	b.ReportAllocs()
	for b.Loop() {
		SetHeader(h, "X-Caller-User", "ours")
	}
}

func TestMediaTypes(t *testing.T) {
	for _, tt := range []struct {
		is     func(http.Header) bool
		value  string
		expect bool
	}{
		{EventStream, "text/event-stream", true},
		{EventStream, "Text/Event-Stream; charset=utf-8", true},
		{EventStream, "text/event-streams", false},
		{JSON, "application/json", true},
		{JSON, "application/fhir+json; charset=utf-8", true},
		{JSON, "application/jsonl", false},
		{JSON, "", false},
	} {
		if got := tt.is(http.Header{"Content-Type": {tt.value}}); got != tt.expect {
			t.Errorf("%q: got %v", tt.value, got)
		}
	}
}

func TestNamesAndValues(t *testing.T) {
	for s, want := range map[string]bool{"X-A": true, "a_b!": true, "": false, "a b": false, "a:b": false, "é": false, "a\x00": false} {
		if got := Token(s); got != want {
			t.Errorf("Token(%q) is %v", s, got)
		}
	}
	for s, want := range map[string]bool{"": true, "a\tb é": true, "a\nb": false, "a\rb": false, "\x7f": false} {
		if got := FieldValue(s); got != want {
			t.Errorf("FieldValue(%q) is %v", s, got)
		}
	}
	for s, want := range map[string]bool{"connection": true, "Transfer_Encoding": true, "X-Connection": false} {
		if got := Framing(s); got != want {
			t.Errorf("Framing(%q) is %v", s, got)
		}
	}
}
