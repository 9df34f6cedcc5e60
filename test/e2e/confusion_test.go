package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// guarded lets everybody into /public, and nobody else anywhere.
const guarded = `
upstreams: { agent: { http: { url: '$1' } } }
policies: { door: { allow: 'request.path.startsWith("/public/") && request.host == "clinic.example"' } }
routes:
  - { path: /*, use: [door, { headers: { request: { set: { X-Remote-User: gateway, X-Team: gateway } } } }], to: agent }
`

// A line is a connection on which raw requests are sent one after the other.
type line struct {
	t    *testing.T
	addr string
	conn net.Conn
	br   *bufio.Reader
}

// ask sends a raw request and returns status and body, or 0 if the connection was
// closed without an answer.
func (l *line) ask(raw string) (int, []byte) {
	if l.conn == nil {
		c, err := (&net.Dialer{}).DialContext(l.t.Context(), "tcp", l.addr)
		if err != nil {
			l.t.Fatal(err)
		}
		l.conn, l.br = c, bufio.NewReader(c)
	}
	l.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(l.conn, raw); err != nil {
		l.close()
		return 0, nil
	}
	resp, err := http.ReadResponse(l.br, &http.Request{Method: strings.SplitN(raw, " ", 2)[0]})
	if err != nil {
		l.close()
		return 0, nil
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.Close {
		l.close()
	}
	return resp.StatusCode, b
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// pieces are what targets are made of: every trick of the advisories that gateways
// had, and plain words to hide them between.
var pieces = []string{
	"/", "/", "/", "//", "/./", "/../", "..", ".", "public", "public", "admin", "PUBLIC", "a", "b%20c", "%2e", "%2E%2e", "%2f", "%2F", "%5c", "\\",
	"%00", "%25", "%252e", "%252f", "%c0%af", "%u002f", ";", "..;", ".;x", ";a=b", "x;v=1", "admin;x", "%3b", "a%3Bb", "?", "#", "*", "%", "%zz", "~", "%7e", "%61", "é", "%C3%A9", ":", "@", "!", "+", "%2B", "|", "^", "<", "\t", "&", "=", "http:", "//evil/",
}

// harmless pieces let some cases through, which then must arrive as they were sent.
var harmless = []string{"a", "records", "p-001", "~me", "%7eme", "%61", "b%20c", "%C3%A9", "a:b", "a@b", "PUBLIC", "...", "a..b", "%2B"}

func target(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(3) > 0 {
		b.WriteString("/public")
	}
	for range r.IntN(6) {
		if b.WriteByte('/'); r.IntN(2) == 0 {
			b.WriteString(harmless[r.IntN(len(harmless))])
			continue
		}
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	if r.IntN(20) == 0 {
		return "http://clinic.example" + b.String()
	}
	return b.String()
}

var hosts = []string{
	"clinic.example", "clinic.example", "clinic.example", "clinic.example", "clinic.example", "clinic.example", "clinic.example", "clinic.example", "CLINIC.example", "clinic.example.", "evil.example", "clinic.example:80",
	"evil@clinic.example", "clinic.example@evil", "clinic.example#evil", "clinic.example/evil", "", "clinic.example, evil", "[::1]", "clinic.example\r\nHost: evil.example",
}

// The path that was authorised is the path that was matched and forwarded, however
// the agent reads it again; or the request is refused.
func TestPathAndHostConfusion(t *testing.T) {
	g := airsidetest.Start(t, guarded, airsidetest.Upstream(t, airsidetest.Echo))
	r := rand.New(rand.NewPCG(1, 2))
	l := &line{t: t, addr: g.Addr}
	defer l.close()
	count := map[int]int{}
	for range 10000 {
		raw := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target(r), hosts[r.IntN(len(hosts))])
		status, body := l.ask(raw)
		count[status]++
		switch {
		case status == 200:
			var seen airsidetest.Seen
			if err := json.Unmarshal(body, &seen); err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			if fault := outside(seen.URI); fault != "" {
				t.Errorf("%q reached the agent as %q, which it may read as %q", raw, seen.URI, fault)
			}
			if p, _, _ := strings.Cut(seen.URI, "?"); strings.Contains(p, ";") || strings.Contains(strings.ToLower(p), "%3b") {
				t.Errorf("%q reached the agent as %q, whose parameters it may cut off", raw, seen.URI)
			}
			if h := seen.Header.Get("X-Forwarded-Host"); h != "clinic.example" && h != "clinic.example:80" {
				t.Errorf("%q reached the agent for host %q", raw, h)
			}
		case status >= 500:
			t.Errorf("%q got %d %s", raw, status, body)
		}
	}
	t.Logf("answers by status: %v", count)
	if count[200] < 500 || count[400] < 500 || count[403] < 500 {
		t.Errorf("the cases prove little: %v", count)
	}
}

// outside returns a reading of uri that lies outside /public/, or nothing. Readers
// decode once or twice, take backslashes for slashes, drop parameters, fold dots.
func outside(uri string) string {
	p, _, _ := strings.Cut(uri, "?")
	readings := []string{p}
	for range 2 {
		for _, q := range readings {
			if d, err := url.PathUnescape(q); err == nil {
				readings = append(readings, d)
			}
		}
	}
	for _, q := range readings {
		q = strings.ReplaceAll(q, "\\", "/")
		var kept []string
		for s := range strings.SplitSeq(q, "/") {
			s, _, _ = strings.Cut(s, ";")
			kept = append(kept, s)
		}
		for _, v := range []string{q, strings.Join(kept, "/")} {
			if c := path.Clean(v); !strings.HasPrefix(c+"/", "/public/") || strings.ContainsRune(v, 0) {
				return v
			}
		}
	}
	return ""
}

// owned are the headers that the gateway vouches for, with the value that it sends;
// empty: never sent.
var owned = []struct{ name, value string }{
	{"X-Forwarded-For", "127.0.0.1"},
	{"X-Forwarded-Proto", "http"},
	{"X-Forwarded-Host", "clinic.example"},
	{"X-Remote-User", "gateway"},
	{"X-Team", "gateway"},
	{"Forwarded", ""},
	{"X-Real-Ip", ""},
	{"X-Forwarded-User", ""},
	{"X-Forwarded-Uri", ""},
	{"X-Original-Url", ""},
	{"Remote-User", ""},
	{"X-Request-Id", "*"},
}

// However a client writes a header that the gateway vouches for, the agent sees the
// gateway's value only.
func TestHeaderConfusion(t *testing.T) {
	g := airsidetest.Start(t, guarded, airsidetest.Upstream(t, airsidetest.Echo))
	r := rand.New(rand.NewPCG(3, 4))
	l := &line{t: t, addr: g.Addr}
	defer l.close()
	count := map[int]int{}
	for range 10000 {
		h := owned[r.IntN(len(owned))]
		raw := "GET /public/x HTTP/1.1\r\nHost: clinic.example\r\n" + forge(r, h.name) + "\r\n"
		status, body := l.ask(raw)
		count[status]++
		if status >= 500 {
			t.Errorf("%q got %d %s", raw, status, body)
		}
		if status != 200 {
			continue
		}
		var seen airsidetest.Seen
		if err := json.Unmarshal(body, &seen); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		for _, o := range owned {
			checkOwned(t, raw, o.name, o.value, seen.Header)
		}
	}
	t.Logf("answers by status: %v", count)
	if count[200] < 2000 || count[400] < 500 {
		t.Errorf("the cases prove little: %v", count)
	}
}

func checkOwned(t *testing.T, raw, name, want string, got http.Header) {
	t.Helper()
	lines := 0
	for k, v := range got {
		if !strings.EqualFold(strings.Map(hyphens, k), name) {
			continue
		}
		lines += len(v)
		for _, s := range v {
			if s == "forged" || want != "*" && s != want {
				t.Errorf("%q: the agent saw %s: %s", raw, k, s)
			}
		}
	}
	if want != "" && lines != 1 || want == "" && lines != 0 {
		t.Errorf("%q: the agent saw %s %d times", raw, name, lines)
	}
}

// hyphens is how programs below CGI and its heirs read a name.
func hyphens(c rune) rune {
	if c < '0' || '9' < c && c < 'A' || 'Z' < c && c < 'a' || 'z' < c {
		return '-'
	}
	return c
}

// forge writes header lines that try to bring a value of the client's for name.
func forge(r *rand.Rand, name string) string {
	spell := func() string {
		switch r.IntN(7) {
		case 6:
			const marks = "!#$%&'*+.^_`|~"
			return strings.ReplaceAll(name, "-", string(marks[r.IntN(len(marks))]))
		case 0:
			return strings.ToLower(name)
		case 1:
			return strings.ToUpper(name)
		case 2:
			return strings.ReplaceAll(name, "-", "_")
		case 3:
			b := []byte(name)
			if i := strings.IndexByte(name, '-'); i > 0 {
				b[i] = '_'
			}
			return string(b)
		}
		return textproto.CanonicalMIMEHeaderKey(name)
	}
	var b strings.Builder
	for range 1 + r.IntN(2) {
		fmt.Fprintf(&b, "%s: forged\r\n", spell())
	}
	switch r.IntN(6) {
	case 0:
		fmt.Fprintf(&b, "Connection: %s\r\n", spell())
	case 1:
		fmt.Fprintf(&b, "connection: close, %s\r\n", strings.ToLower(name))
	case 2:
		fmt.Fprintf(&b, "Connection: keep-alive\r\nConnection: %s\r\n", name)
	}
	return b.String()
}
