package canon

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/proto/web"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   http.Header
		want http.Header
		says string
	}{
		{name: "plain", in: http.Header{"Accept": {"a", "b"}, "X-Team": {"t"}, "My_header": {"x"}}},
		{name: "cookies are joined", in: http.Header{"Cookie": {"a=1", "b=2"}}, want: http.Header{"Cookie": {"a=1; b=2"}}},
		{name: "two authorizations", in: http.Header{"Authorization": {"a", "b"}}, says: "Authorization was sent more than once"},
		{name: "two equal authorizations", in: http.Header{"Authorization": {"a", "a"}}, says: "more than once"},
		{name: "two types", in: http.Header{"Content-Type": {"a", "b"}}, says: "more than once"},
		{name: "two lengths", in: http.Header{"Content-Length": {"1", "1"}}, says: "more than once"},
		{name: "two hosts", in: http.Header{"Host": {"a", "b"}}, says: "more than once"},
		{name: "two dates", in: http.Header{"If-Modified-Since": {"a", "b"}}, says: "more than once"},
		{name: "underscores", in: http.Header{"X_forwarded_user": {"x"}}, says: `"X_forwarded_user" can be mistaken for X-Forwarded-User`},
		{name: "one underscore", in: http.Header{"X-Forwarded_user": {"x"}}, says: "mistaken"},
		{name: "dots", in: http.Header{"X.real.ip": {"x"}}, says: "mistaken for X-Real-Ip"},
		{name: "other punctuation", in: http.Header{"X~forwarded!for": {"x"}}, says: "mistaken for X-Forwarded-For"},
		{name: "punctuation of no matter", in: http.Header{"X.team": {"x"}, "X!team": {"x"}}},
		{name: "length", in: http.Header{"Content_length": {"1"}}, says: "mistaken"},
		{name: "framing", in: http.Header{"Transfer_encoding": {"chunked"}}, says: "mistaken"},
		{name: "case", in: http.Header{"authorization": {"1"}}, says: "mistaken for Authorization"},
		{name: "the least is told", in: http.Header{"X_host": {"x"}, "Range": {"", ""}, "X_real_ip": {}, "Origin": {"", ""}}, says: "Origin"},
	} {
		want := tt.want
		if want == nil {
			want = tt.in.Clone()
		}
		_, err := Headers(tt.in)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
		if diff := cmp.Diff(want, tt.in); diff != "" && err == nil {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestStripHopByHop(t *testing.T) {
	keep := http.Header{"Authorization": {"a"}, "Trailer": {"X-Sum"}}
	for _, tt := range []struct {
		name    string
		in      http.Header
		want    http.Header // besides keep
		upgrade string
		says    string
	}{
		{name: "nothing"},
		{name: "all", in: http.Header{
			"Connection": {"close"}, "Keep-Alive": {"x"}, "Proxy-Connection": {"x"}, "Proxy-Authenticate": {"x"}, "Proxy-Authorization": {"x"},
			"Te": {"gzip"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"x"}, "Http2-Settings": {"x"}, "Proxy": {"http://evil"},
		}},
		{name: "named", in: http.Header{"Connection": {"x-a,,", " X-B ,\tX_c", "keep-alive"}, "X-A": {"1"}, "X-B": {"1"}, "X_c": {"1"}, "X-D": {"1"}}, want: http.Header{"X-D": {"1"}}},
		{name: "trailers", in: http.Header{"Connection": {"TE"}, "Te": {"gzip;q=1, Trailers"}}, want: http.Header{"Te": {"trailers"}}},
		{name: "websocket", in: http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}}, upgrade: "websocket"},
		{name: "version", in: http.Header{"Connection": {"upgrade"}, "Upgrade": {"foo/2"}}, upgrade: "foo/2"},
		{name: "upgrade unnamed", in: http.Header{"Upgrade": {"websocket"}}},
		{name: "upgrade absent", in: http.Header{"Connection": {"upgrade"}}},
		{name: "two protocols", in: http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket, foo"}}},
		{name: "two lines", in: http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket", "websocket"}}},
		{name: "h2c", in: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2C"}, "Http2-Settings": {"x"}}},
		{name: "credentials", in: http.Header{"Connection": {"authorization"}}, says: "Connection names Authorization"},
		{name: "cookie", in: http.Header{"Connection": {"close", "Cookie"}}, says: "names Cookie"},
		{name: "host", in: http.Header{"Connection": {"host"}}, says: "names Host"},
		{name: "length", in: http.Header{"Connection": {"content-length"}}, says: "names Content-Length"},
		{name: "cache", in: http.Header{"Connection": {"cache-control"}}, says: "names Cache-Control"},
		{name: "forwarded", in: http.Header{"Connection": {"X-Forwarded-For"}}, says: "names X-Forwarded-For"},
		{name: "alias", in: http.Header{"Connection": {"x_FORWARDED-proto"}}, says: "names X-Forwarded-Proto"},
		{name: "identity", in: http.Header{"Connection": {"x-auth-request-email"}}, says: "names X-Auth-Request-Email"},
		{name: "no name", in: http.Header{"Connection": {"x:y"}}, says: `Connection has "x:y"`},
	} {
		h := keep.Clone()
		maps.Copy(h, tt.in)
		upgrade, err := StripHopByHop(h)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.says)
		}
		if err != nil {
			continue
		}
		want := keep.Clone()
		maps.Copy(want, tt.want)
		if diff := cmp.Diff(want, h); diff != "" || upgrade != tt.upgrade {
			t.Errorf("%s: upgrade got %q, want %q; (-want +got)\n%s", tt.name, upgrade, tt.upgrade, diff)
		}
	}
}

// vouched are headers by which agents know who asks, from the advisories.
var vouched = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method",
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert",
	"X-Real-Ip", "X-Client-Ip", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Cluster-Client-Ip",
	"X-Original-Url", "X-Original-Uri", "X-Original-Forwarded-For", "X-Rewrite-Url", "X-Host",
	"X-Remote-User", "X-Remote-Addr", "X-Remote-Group", "Remote-User", "Remote-Groups", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Webauth-User",
	"X-Airside-Caller", "X-Envoy-Internal", "X-Envoy-External-Address", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
	"X-Ms-Client-Principal", "X-Consumer-Username", "Oidc-Claim-Sub", "Client-Cert", "X-Ssl-Client-Cert", "Ssl-Client-Verify", "X-Middleware-Subrequest",
}

// Classes 2 and 3 of the bars: whatever the spelling, a client cannot bring a
// header that a proxy vouches for, nor have Connection remove it.
func TestVouchedHeaders(t *testing.T) {
	spellings := []func(string) string{
		func(s string) string { return s },
		strings.ToLower,
		strings.ToUpper,
		func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		func(s string) string { return strings.Replace(s, "-", "_", 1) },
		func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", ".")) },
		func(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) },
	}
	for _, name := range vouched {
		for _, spell := range spellings {
			sent := spell(name)
			h := http.Header{http.CanonicalHeaderKey(sent): {"evil"}, sent: {"evil"}}
			StripForwarded(h)
			if len(h) > 0 {
				t.Errorf("StripForwarded leaves %v of %s", h, sent)
			}
			if _, err := StripHopByHop(http.Header{"Connection": {sent}}); err == nil {
				t.Errorf("Connection: %s is accepted", sent)
			}
			h = http.Header{http.CanonicalHeaderKey(sent): {"evil"}}
			found, err := Headers(h)
			if err == nil && http.CanonicalHeaderKey(sent) != name {
				t.Errorf("Headers accepts %s, an alias of %s", sent, name)
			}
			if err == nil && !found.Vouched {
				t.Errorf("Headers does not see that %s is to be removed", sent)
			}
		}
	}
}

// What a client brings for itself stays.
func TestStripForwardedKeeps(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"Authorization", "Cookie", "X-Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "Accept", "Content-Type", "X-Request-Id", "Traceparent", "X-Hostname",
		"Cdn-Loop", "Fastly-Key", "Mcp-Session-Id", "A2a-Version", "Anthropic-Version", "X-User", "X-Schema", "Referer", "User-Agent", "X_custom", "X",
	} {
		h[name] = []string{"v"}
	}
	want := h.Clone()
	StripForwarded(h)
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// singleton searches a sorted list of canonical names.
func TestSingletonsAreSorted(t *testing.T) {
	if !slices.IsSorted(singletons) {
		t.Error("the list is not sorted")
	}
	for _, name := range singletons {
		if !wellSpelled(name) || !singleton(name) {
			t.Errorf("%s is not canonical, or not found", name)
		}
	}
}

// nameList.begin searches sorted lists of which no element begins another.
func TestBeginningsAreSorted(t *testing.T) {
	for _, list := range []*nameList{&onlyProxies, &endToEnd} {
		for i, p := range list.names {
			if !wellSpelled(p) || !list.begin(p+"x") {
				t.Errorf("%s is not canonical, or not found", p)
			}
			if i > 0 && (p <= list.names[i-1] || strings.HasPrefix(p, list.names[i-1])) {
				t.Errorf("%s must not follow %s", p, list.names[i-1])
			}
		}
	}
}

// checkHeaders holds for every set of headers: once accepted and stripped, no
// spelling of a guarded name is left but its own, and again changes nothing.
func checkHeaders(t failer, h http.Header) {
	t.Helper()
	sent := h.Clone()
	found, err := Headers(h)
	if err != nil {
		return
	}
	if _, err := StripHopByHop(h); err != nil {
		return
	}
	if n := len(h); !found.Vouched {
		if StripForwarded(h); len(h) != n {
			t.Fatalf("Headers did not see what StripForwarded removes of %q", sent)
		}
	}
	StripForwarded(h)
	for name, lines := range h {
		if _, ok := sent[name]; !ok {
			t.Fatalf("%s arose out of %q", name, sent)
		}
		if hopByHop(name) && (name != "Te" || lines[0] != "trailers") {
			t.Fatalf("%s is left of %q", name, sent)
		}
		for _, v := range append(vouched, "Authorization", "Content-Length", "Transfer-Encoding") {
			if name != v && web.Alias(name, v) {
				t.Fatalf("%s, an alias of %s, is left of %q", name, v, sent)
			}
		}
	}
	for name := range sent {
		if _, ok := h[name]; !ok && (name == "Authorization" || name == "Cookie" || name == "Content-Type") {
			t.Fatalf("%s was removed from %q", name, sent)
		}
	}
	again := h.Clone()
	_, err = Headers(again)
	if _, err2 := StripHopByHop(again); err != nil || err2 != nil || !cmp.Equal(again, h) {
		t.Fatalf("%q is not stable: %v, %v, %q", h, err, err2, again)
	}
}

func TestHeadersProperties(t *testing.T) {
	names := append([]string{
		"Connection", "Connection", "connection", "Upgrade", "Te", "Cookie", "Authorization", "X_team", "X-Team", "Content-Type", "Transfer_Encoding", "Keep-Alive",
	}, vouched...)
	values := append([]string{"close", "upgrade, keep-alive", "trailers", "x-a", "a b", ",,"}, names...)
	rapid.Check(t, func(t *rapid.T) {
		h := http.Header{}
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			name := rapid.SampledFrom(names).Draw(t, "name")
			if rapid.Bool().Draw(t, "alias") {
				name = strings.ReplaceAll(name, "-", "_")
			}
			h.Add(name, rapid.SampledFrom(values).Draw(t, "value"))
		}
		checkHeaders(t, h)
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("Connection: close, X-A\nX-A: 1\nX_real_ip: 1\nTe: trailers")
	f.Add("connection: authorization\nAuthorization: a\nCookie: a\nCookie: b")
	f.Fuzz(func(t *testing.T, lines string) {
		h := http.Header{}
		for line := range strings.SplitSeq(lines, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && web.Token(name) {
				h.Add(name, strings.TrimSpace(value))
			}
		}
		checkHeaders(t, h)
	})
}

func usual() http.Header {
	return http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Authorization": {"Bearer x"}, "Content-Length": {"12"}, "Content-Type": {"application/json"},
		"Cookie": {"a=1"}, "Origin": {"https://a"}, "User-Agent": {"x"}, "Traceparent": {"00-x"}, "X-Request-Id": {"1"}, "X-Stainless-Lang": {"go"},
	}
}

// wellSpelled is a table; this is what it stands for.
func TestWellSpelled(t *testing.T) {
	for _, name := range []string{"A", "X-User", "X-9a", "Te", "X--User", "-", "", "A-1-B"} {
		if !wellSpelled(name) {
			t.Errorf("%q is said to be ill spelled", name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9_.!~-]{1,12}`).Draw(t, "name")
		plain := !strings.ContainsAny(name, "_.!~")
		if want := plain && http.CanonicalHeaderKey(name) == name; wellSpelled(name) != want {
			t.Fatalf("%q: want %v", name, want)
		}
	})
}

func TestHeadersDoNotAllocate(t *testing.T) {
	h, connection := usual(), []string{"keep-alive"}
	if n := testing.AllocsPerRun(100, func() {
		h["Connection"] = connection
		_, _ = Headers(h)
		_, _ = StripHopByHop(h)
		StripForwarded(h)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// What the edge does with the headers of most requests.
func BenchmarkHeaders(b *testing.B) {
	h, connection := usual(), []string{"keep-alive"}
	b.ReportAllocs()
	for b.Loop() {
		h["Connection"] = connection
		if found, err := Headers(h); found != (Found{}) || err != nil {
			b.Fatal(found, err)
		}
		_, _ = StripHopByHop(h)
	}
}
