package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside/internal/config"
)

const token = "correct-horse-battery"

// TestAccess goes through the table of routes with every kind of credentials, on every
// kind of address. A route without a class, or one that is new and of a class that is
// not known here, fails.
func TestAccess(t *testing.T) {
	type want struct{ everyone, operators, trusted int } // status; 0 for what the route answers
	right := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	none := func(*http.Request) {}
	wrong := []struct {
		name   string
		change func(*http.Request)
	}{
		{"a wrong token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") }},
		{"an empty one", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }},
		{"no scheme", func(r *http.Request) { r.Header.Set("Authorization", token) }},
		{"another scheme", func(r *http.Request) { r.SetBasicAuth("admin", token) }},
		{"two tokens", func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token} }},
		{"the token in the query", func(r *http.Request) { r.URL.RawQuery = "token=" + token }},
	}
	for _, tt := range []struct {
		name                string
		conf                config.Admin
		none, wrong, rights want
	}{
		{"loopback", config.Admin{Address: "127.0.0.1:0"}, want{0, 0, 403}, want{0, 0, 403}, want{0, 0, 403}},
		{"loopback with a token", config.Admin{Address: "127.0.0.1:0", Token: secret(token)}, want{0, 401, 401}, want{0, 401, 401}, want{0, 0, 0}},
		{"open to others", config.Admin{Address: "0.0.0.0:0"}, want{0, 403, 403}, want{0, 403, 403}, want{0, 403, 403}},
		{"open to others with a token", config.Admin{Address: "0.0.0.0:0", Token: secret(token)}, want{0, 401, 401}, want{0, 401, 401}, want{0, 0, 0}},
	} {
		s := start(t, plain, tt.conf).admin
		check := func(r *route, who string, change func(*http.Request), w want) {
			t.Helper()
			want := map[class]int{everyone: w.everyone, operators: w.operators, trusted: w.trusted}[r.class]
			s.failures.peers = nil // or all that follows would have to wait; see TestFailures
			resp, body := ask(t, s, r.path, func(q *http.Request) {
				q.Method = http.MethodHead // no profile is taken
				change(q)
			})
			refused := resp.StatusCode == 401 || resp.StatusCode == 403
			if want == 0 && !slices.Contains([]int{200, 400, 404}, resp.StatusCode) || want != 0 && resp.StatusCode != want || refused != (want != 0) {
				t.Errorf("%s: %s with %s: got %d %s, want %d", tt.name, r.path, who, resp.StatusCode, body, want)
			}
			if resp.StatusCode == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: %s with %s: 401 without a challenge", tt.name, r.path, who)
			}
		}
		table := append(slices.Clone(s.table), route{path: "/is/not/there", class: operators})
		for i := range table {
			r := &table[i]
			if !slices.Contains([]class{everyone, operators, trusted}, r.class) {
				t.Errorf("%s has no class", r.path)
			}
			if r.class == everyone && r.path != "/healthz" && r.path != "/readyz" {
				t.Errorf("%s is open to everybody", r.path)
			}
			if strings.HasPrefix(r.path, "/debug/") && r.class != trusted {
				t.Errorf("%s is open without a token", r.path)
			}
			check(r, "nothing", none, tt.none)
			for _, w := range wrong {
				check(r, w.name, w.change, tt.wrong)
			}
			if s.find(r.path) != nil {
				check(r, "the token", right, tt.rights)
			}
		}
	}
}

// TestUnclassed proves that a route without a class is served to nobody.
func TestUnclassed(t *testing.T) {
	s := start(t, plain, config.Admin{Token: secret(token)}).admin
	r := httptest.NewRequest("GET", "http://127.0.0.1/x", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	if p := s.admit("", r); p == nil || p.status != 403 {
		t.Errorf("got %+v, want 403", p)
	}
	if p := s.admit(trusted, r); p != nil {
		t.Errorf("with a class: got %+v", p)
	}
}

// TestGuard proves that neither a web page in the operator's browser nor a name that was
// made to point here gets anything, and that nothing but GET and HEAD is taken.
func TestGuard(t *testing.T) {
	s := start(t, plain, config.Admin{}).admin
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"a web page", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		{"another name", func(r *http.Request) { r.Host = "evil.example" }, 421},
		{"localhost", func(r *http.Request) { r.Host = "localhost:1" }, 200},
		{"POST", func(r *http.Request) { r.Method = "POST" }, 405},
		{"OPTIONS", func(r *http.Request) { r.Method = "OPTIONS" }, 405},
		{"HEAD", func(r *http.Request) { r.Method = "HEAD" }, 200},
		{"a body", func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 1<<40 }, 413},
	} {
		if tt.name == "a body" {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://127.0.0.1/config", strings.NewReader("x"))
			if s.ServeHTTP(w, r); w.Code != tt.status {
				t.Errorf("%s: got %d, want %d", tt.name, w.Code, tt.status)
			}
			continue
		}
		for _, path := range []string{"/config", "/api/v1/status"} {
			resp, body := ask(t, s, path, tt.change)
			if resp.StatusCode != tt.status {
				t.Errorf("%s: got %d, want %d", tt.name, resp.StatusCode, tt.status)
			}
			if tt.status >= 400 && (resp.Header.Get("Content-Type") != problems || !strings.Contains(body, `"detail":"`)) {
				t.Errorf("%s: the refusal is no problem document: %s", tt.name, body)
			}
			if tt.status == 405 && resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: Allow is %q", tt.name, resp.Header.Get("Allow"))
			}
		}
	}
}

// TestFailures proves that a peer may be wrong a few times only, that others are not kept
// waiting for it, and that what is kept of peers is bounded.
func TestFailures(t *testing.T) {
	f, now := &failures{}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	bad, good := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range wrongAtOnce {
		if w := f.wait(bad, now); w != 0 {
			t.Fatalf("try %d has to wait %s", i, w)
		}
		f.note(bad, now)
	}
	if w := f.wait(bad, now); w <= 0 || w > wrongPause {
		t.Errorf("after %d tries: has to wait %s", wrongAtOnce, w)
	}
	if w := f.wait(good, now); w != 0 {
		t.Errorf("another has to wait %s", w)
	}
	if w := f.wait(bad, now.Add(wrongPause)); w != 0 {
		t.Errorf("after the pause: has to wait %s", w)
	}
	for i := range 10 * maxPeers {
		f.note(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now)
	}
	if n := len(f.peers); n > maxPeers+1 {
		t.Errorf("%d peers are kept", n)
	}
	if w := f.wait(netip.MustParseAddr("10.1.0.0"), now); w <= 0 {
		t.Error("those for whom there is no room count as one, which has been wrong too often")
	}
	if got := peer("[2001:db8::1]:99"); got != peer("[2001:db8::2]:98") || got == peer("[2001:db8:1::1]:99") {
		t.Error("a network of IPv6 is one peer")
	}
}

// TestManyWrongTokens proves that guessing ends in 429, which the right token does not
// end before its time, and that the count is told.
func TestManyWrongTokens(t *testing.T) {
	s := start(t, plain, config.Admin{Token: secret(token)}).admin
	show := func(what string) *http.Response {
		resp, _ := ask(t, s, "/version", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+what) })
		return resp
	}
	got := map[int]int{}
	var last *http.Response
	for range 3 * wrongAtOnce {
		last = show("guess")
		got[last.StatusCode]++
		if last.StatusCode == 429 {
			break
		}
	}
	if got[401] < wrongAtOnce || got[429] == 0 || last.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", got)
	}
	if s.failures.count.Load() < wrongAtOnce {
		t.Errorf("%d are counted", s.failures.count.Load())
	}
}

// TestCredentialsChange proves that a token and a certificate come into force without a
// new address, and that what is not valid changes nothing.
func TestCredentialsChange(t *testing.T) {
	g := start(t, plain, config.Admin{})
	status := func(tok string) int {
		resp, _ := ask(t, g.admin, "/version", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tok) })
		return resp.StatusCode
	}
	if got := status("none"); got != 200 {
		t.Errorf("without a token: got %d", got)
	}
	commit, err := g.admin.Prepare(&config.Admin{Token: secret(token)})
	if err != nil {
		t.Fatal(err)
	}
	if commit(); status("none") != 401 || status(token) != 200 {
		t.Error("the token is not in force")
	}
	if _, err := g.admin.Prepare(&config.Admin{TLS: &config.AdminTLS{Cert: "none.crt", Key: "none.key"}}); err == nil {
		t.Error("a certificate that is not there was taken")
	}
	cert, key := certificate(t)
	if commit, err = g.admin.Prepare(&config.Admin{Token: secret(token), TLS: &config.AdminTLS{Cert: cert, Key: key}}); err != nil {
		t.Fatal(err)
	}
	commit()
	resp, _ := ask(t, g.admin, "/version", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	if resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("by TLS: got %d", resp.StatusCode)
	}
	if err := os.WriteFile(cert, []byte("half of a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status(token) != 200 {
		t.Error("the old certificate is not used while a new one is not whole")
	}
}

// certificate writes one, with its key, into files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	pair := s.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
