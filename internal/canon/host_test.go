package canon

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tt := range []struct{ in, want string }{
		{"example.com", "example.com"},
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"example.com.:80", "example.com:80"},
		{"example.com:443", "example.com:443"},
		{"EXAMPLE.com:65535", "example.com:65535"},
		{"my_svc-1.local", "my_svc-1.local"},
		{"localhost", "localhost"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1.:8080", "127.0.0.1:8080"},
		{"1.example", "1.example"},
		{"1e100", "1e100"},
		{"[::1]", "[::1]"},
		{"[::1]:8080", "[::1]:8080"},
		{"[0:0::1]:8080", "[::1]:8080"},
		{"[2001:DB8::A]", "[2001:db8::a]"},
		{"[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"},
		{long + "." + long + "." + long + "." + long[:61], long + "." + long + "." + long + "." + long[:61]},

		{"", ""},
		{".", ""},
		{":80", ""},
		{"..", ""},
		{".a", ""},
		{"a..b", ""},
		{"a..", ""},
		{"a:", ""},
		{"a:0", ""},
		{"a:080", ""},
		{"a:65536", ""},
		{"a:+80", ""},
		{"a:8_0", ""},
		{"a:80:80", ""},
		{"a:x", ""},
		{"a:80 ", ""},
		{"user@a", ""},
		{"user:pw@a", ""},
		{"a/b", ""},
		{"a#b", ""},
		{"a?b", ""},
		{"a b", ""},
		{" a", ""},
		{"a\t", ""},
		{"a,b", ""},
		{"a%41", ""},
		{`a\b`, ""},
		{"a\x00", ""},
		{"é", ""},
		{"a*", ""},
		{"*.a", ""},
		{"http://a", ""},
		{"[::1", ""},
		{"::1", ""},
		{"[]", ""},
		{"[::1]x", ""},
		{"[::1]:", ""},
		{"[fe80::1%eth0]", ""},
		{"[127.0.0.1]", ""},
		{"[v1.x]", ""},
		{"[::1].", ""},
		{"0177.0.0.1", ""},
		{"127.1", ""},
		{"2130706433", ""},
		{"0x7f000001", ""},
		{"0x7f.0.0.0x1", ""},
		{"256.1.1.1", ""},
		{"1.2.3.4.5", ""},
		{"a.1", ""},
		{"a.0x", ""},
		{long + "a", ""},
		{long + "." + long + "." + long + "." + long, ""},
	} {
		got, err := Host(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Host(%q): got %q, %v, want %q", tt.in, got, err, tt.want)
		}
		checkHost(t, tt.in)
	}
}

func checkHost(t failer, in string) {
	t.Helper()
	got, err := Host(in)
	if err != nil {
		return
	}
	if again, err := Host(got); err != nil || again != got {
		t.Fatalf("Host(%q) is %q, and again %q, %v", in, got, again, err)
	}
	if strings.ContainsAny(got, " @/#?,%\\*\x00\r\n") || got != strings.ToLower(got) {
		t.Fatalf("Host(%q) accepts %q", in, got)
	}
	if !strings.EqualFold(strings.TrimSuffix(strings.Replace(in, ".:", ":", 1), "."), got) && in[0] != '[' {
		t.Fatalf("Host(%q) is another host, %q", in, got)
	}
	if _, err := netip.ParseAddrPort(got); in[0] == '[' && err != nil {
		if _, err := netip.ParseAddr(strings.Trim(got, "[]")); err != nil {
			t.Fatalf("Host(%q) is no address, %q", in, got)
		}
	}
}

func TestHostProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkHost(t, rapid.StringMatching(`(\[[0-9a-fA-F:.]{2,20}\]|[a-zA-Z0-9._-]{1,20}|([0-9]{1,3}\.){3}[0-9]{1,3}|0x[0-9a-f]+)\.?(:[0-9]{0,6})?`).Draw(t, "host"))
	})
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b:80", "[::1]:80", "user@a", "1.2.3.4", "A.", "0x1", "[fe80::1%25eth0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) { checkHost(t, in) })
}

func TestHostDoesNotAllocate(t *testing.T) {
	for _, in := range []string{"api.example.com:8443", "10.0.0.1:80", "[::1]:80"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = Host(in) }); n != 0 {
			t.Errorf("Host(%q): got %v allocations, want 0", in, n)
		}
	}
}

func BenchmarkHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Host("api.example.com:8443")
	}
}

// The address a client can write itself never decides.
func TestClient(t *testing.T) {
	trust := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct {
		peer string
		xff  []string
		want string // empty: refused
	}{
		{"203.0.113.9", nil, "203.0.113.9"},
		{"203.0.113.9", []string{"10.0.0.1"}, "203.0.113.9"},
		{"10.0.0.1", nil, "10.0.0.1"},
		{"::ffff:10.0.0.1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{"1.1.1.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1", []string{"1.1.1.1", "203.0.113.9", "10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1", []string{"garbage, 203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{"203.0.113.9, ,, "}, "203.0.113.9"},
		{"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1", []string{"203.0.113.9:5123"}, "203.0.113.9"},
		{"10.0.0.1", []string{"[2001:db8::1]:5123"}, "2001:db8::1"},
		{"10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"fd00::1", []string{"2001:DB8::1"}, "2001:db8::1"},
		{"10.0.0.1", []string{"::ffff:10.0.0.2", "::ffff:203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{"203.0.113.9, unknown"}, ""},
		{"10.0.0.1", []string{"203.0.113.9, unknown, 10.0.0.2"}, ""},
		{"10.0.0.1", []string{"2001:db8::1%eth0"}, ""},
		{"10.0.0.1", []string{"203.0.113.009"}, ""},
		{"10.0.0.1", []string{"203.0.113.9 10.0.0.2"}, ""},
	} {
		got, err := Client(netip.MustParseAddr(tt.peer), map[string][]string{"X-Forwarded-For": tt.xff}, trust)
		if (err == nil) != (tt.want != "") || err == nil && got.String() != tt.want {
			t.Errorf("Client(%s, %q): got %v, %v, want %q", tt.peer, tt.xff, got, err, tt.want)
		}
	}
	if got, err := Client(netip.Addr{}, map[string][]string{"X-Forwarded-For": {"1.1.1.1"}}, trust); err != nil || got.IsValid() {
		t.Errorf("Client of a Unix socket: got %v, %v, want the invalid address", got, err)
	}
}

// Whatever a client puts before what a trusted proxy adds changes nothing.
func TestClientCannotBeSpoofed(t *testing.T) {
	trust := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(rapid.SampledFrom([]string{"10.0.0.1", "127.0.0.1", "x", "", "[::1]", "8.8.8.8", "a, b"}), 0, 5).Draw(t, "sent")
		lines := append([]string{strings.Join(sent, ",")}, "203.0.113.9, 10.0.0.2")
		if rapid.Bool().Draw(t, "one line") {
			lines = []string{strings.Join(lines, ",")}
		}
		got, err := Client(netip.MustParseAddr("10.0.0.1"), map[string][]string{"X-Forwarded-For": lines}, trust)
		if err != nil || got.String() != "203.0.113.9" {
			t.Fatalf("got %v, %v for %q, want 203.0.113.9", got, err, lines)
		}
	})
}
