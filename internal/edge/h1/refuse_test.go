package h1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestBodyOfRefusal proves that who asks by HEAD gets no body with a refusal, wherever the
// request breaks; everybody else does.
func TestBodyOfRefusal(t *testing.T) {
	const hosts = "Host: a\r\nHost: b\r\n\r\n"
	tests := []struct {
		name, request string
		status        string
		body          bool
	}{
		{"no host", "HEAD / HTTP/1.1\r\n\r\n", "400", false},
		{"two hosts", "HEAD / HTTP/1.1\r\n" + hosts, "400", false},
		{"the target", "HEAD /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400", false},
		{"the request line", "HEAD /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400", false},
		{"no target", "HEAD HTTP/1.1\r\nHost: a\r\n\r\n", "400", false},
		{"the version", "HEAD / HTTP/1.2\r\nHost: a\r\n\r\n", "505", false},
		{"the end of the line", "HEAD / HTTP/1.1\nHost: a\r\n\r\n", "400", false},
		{"what is expected", "HEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417", false},
		{"too large", "HEAD / HTTP/1.1\r\nX-A: " + strings.Repeat("x", 40<<10), "431", false},
		{"a target too long", "HEAD /" + strings.Repeat("x", 40<<10), "414", false},
		{"GET", "GET / HTTP/1.1\r\n" + hosts, "400", true},
		{"another case", "head / HTTP/1.1\r\n" + hosts, "400", true},
		{"a longer name", "HEADER / HTTP/1.1\r\n" + hosts, "400", true},
		{"no method", "HEAD\r\n" + hosts, "400", true},
	}
	each(t, func(t *testing.T, way way) {
		s := serve(t, way, func(http.ResponseWriter, *http.Request) { t.Error("a handler was called") })
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := s.dial()
				c.t = t
				c.say("%s", tt.request)
				b, err := io.ReadAll(c.br)
				head, body, whole := strings.Cut(string(b), "\r\n\r\n")
				if err != nil || !whole || !strings.HasPrefix(head, "HTTP/1.1 "+tt.status+" ") {
					t.Fatalf("got %q, %v, want %s", b, err, tt.status)
				}
				if (body != "") != tt.body {
					t.Errorf("got the body %q", body)
				}
			})
		}
	})
}

// TestTLSToPlain proves that who speaks TLS to a plain address is told so at once, and is
// not waited for.
func TestTLSToPlain(t *testing.T) {
	s := serve(t, plain, func(http.ResponseWriter, *http.Request) { t.Error("a handler was called") })
	for _, hello := range []string{"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "\x16\x03\x01\x00\x05\x01\x00\n\x01\x03"} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, hello); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 400" {
			t.Fatalf("got %q, %v", answer, err)
		}
		if rest, _ := io.ReadAll(c); !strings.Contains(string(rest), "TLS is spoken to an address that has none") {
			t.Errorf("got %q", rest)
		}
		c.Close()
	}
}
