package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/airside-gateway/airside"
)

// ignored are the fields that say where something stands.
var ignored = []cmp.Option{
	cmpopts.IgnoreTypes(Position{}),
	cmpopts.IgnoreUnexported(Config{}, Part{}, Route{}, Target{}),
	cmp.Comparer(func(a, b Network) bool { return a == b }),
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse(testFile, []byte(text), testLookup(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The smallest file has every default.
func TestDefaults(t *testing.T) {
	got := parse(t, "routes:\n  - { path: /agent1/*, to: http://agent1:8000 }\n")
	want := &Config{
		Listen: []Listen{{
			Address: "127.0.0.1:8080", Engine: "fast", Protocols: []string{"h1", "h2"},
			Limits: Limits{
				Headers: 64 << 10, Body: 10 << 20, Connections: 10000, Idle: 2 * time.Minute,
				HeaderTimeout: 10 * time.Second, BodyTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
			},
		}},
		Routes:    []Route{{Path: "/agent1/*", Protocol: "web", Repeat: "safe", To: To{Targets: []Target{{Name: "http://agent1:8000"}}}}},
		Admin:     Admin{Address: "127.0.0.1:9900", Recent: 1000},
		Telemetry: Telemetry{Log: Log{Level: "info", Format: "auto", Errors: "always", Sample: 1}, Metrics: Metrics{Series: 2000}},
		Overload:  Overload{Memory: OverloadMemory{Heavy: 90, All: 95}, Wait: 200 * time.Millisecond},
		Shutdown:  Shutdown{Grace: 30 * time.Second},
	}
	if diff := cmp.Diff(want, got, ignored...); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// Every form of every part of the file arrives as it was written.
func TestForms(t *testing.T) {
	got := parse(t, `
listen:
  - ":8080"
  - { address: ":8443", tls: { cert: a.pem, key: /b.key, min: "1.3", clients: { ca: ca.pem, optional: true } }, trust: [10.0.0.0/8, ::1] }
upstreams:
  b: { http: { url: http://b:1 } }
  a: { http: { url: http://a:1 } }
use: [p]
policies: { p: { cors: {} } }
routes:
  - { name: r, host: x.example, method: [GET, PUT], headers: { A: b }, query: { q: "1" }, when: "true", strip: /a, timeout: 5s, to: [b, a], use: [{ note: hi }] }
  - { host: [x, y], method: GET, protocol: web, to: { a: 95, b: 5 } }
admin: off
`)
	want := &Config{
		Listen:    []Listen{defaultListen(), defaultListen()},
		Upstreams: []Named{{"b", Part{Kind: "http"}}, {"a", Part{Kind: "http"}}},
		Policies:  []Named{{"p", Part{Kind: "cors"}}},
		Use:       []Part{{Ref: "p"}},
		Routes: []Route{
			{
				Name: "r", Host: []string{"x.example"}, Method: []string{"GET", "PUT"}, Headers: map[string]string{"A": "b"},
				Query: map[string]string{"q": "1"}, When: "true", Protocol: "web", Repeat: "safe", Strip: "/a", Timeout: 5 * time.Second,
				Use: []Part{{Kind: "note"}}, To: To{Targets: []Target{{Name: "b"}, {Name: "a"}}},
			},
			{
				Host: []string{"x", "y"}, Method: []string{"GET"}, Protocol: "web", Repeat: "safe",
				To: To{Weighted: true, Targets: []Target{{Name: "a", Weight: 95}, {Name: "b", Weight: 5}}},
			},
		},
		Admin:     Admin{Address: "127.0.0.1:9900", Recent: 1000, Off: true},
		Telemetry: Telemetry{Log: Log{Level: "info", Format: "auto", Errors: "always", Sample: 1}, Metrics: Metrics{Series: 2000}},
		Overload:  Overload{Memory: OverloadMemory{Heavy: 90, All: 95}, Wait: 200 * time.Millisecond},
		Shutdown:  Shutdown{Grace: 30 * time.Second},
	}
	want.Listen[0].Address, want.Listen[1].Address = ":8080", ":8443"
	want.Listen[1].TLS = &TLS{Cert: "a.pem", Key: "/b.key", Min: "1.3", Clients: &Clients{CA: "ca.pem", Optional: true}}
	want.Listen[1].Trust = []Network{network(t, "10.0.0.0/8"), network(t, "::1")}
	if diff := cmp.Diff(want, got, ignored...); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if p, ok := got.Upstream("a"); !ok || p.Kind != "http" {
		t.Errorf("Upstream(a) = %+v, %v", p, ok)
	}
	if _, ok := got.Policy("a"); ok {
		t.Error("an upstream is found as a policy")
	}
	if diff := cmp.Diff([]Cert{{Cert: "a.pem", Key: "/b.key"}}, got.Listen[1].TLS.Pairs()); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
	several := []Cert{{Cert: "a", Key: "b"}, {Cert: "c", Key: "d"}}
	if diff := cmp.Diff(several, (&TLS{Certs: several}).Pairs()); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
}

func network(t *testing.T, s string) Network {
	t.Helper()
	var n Network
	if err := n.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return n
}

// Positions are those of the file, in characters.
func TestPositions(t *testing.T) {
	c := parse(t, "routes:\n"+
		"  - path: \"/é/*\"\n"+
		"    use: [{ note: x }, { cors: }]\n"+
		"    to:\n"+
		"      - http://a:1\n"+
		"      - http://b:1\n"+
		"  - { host: \"é\", to: { http://a:1: 1 } }\n")
	r, second := &c.Routes[0], &c.Routes[1]
	for _, x := range []struct {
		what string
		got  Position
		want string
	}{
		{"route", r.At, "airside.yaml:2:5"},
		{"path", r.Field("path"), "airside.yaml:2:11"},
		{"use[1]", r.Field("use[1]"), "airside.yaml:3:24"},
		{"to", r.Field("to"), "airside.yaml:5:7"},
		{"to[1]", r.Field("to[1]"), "airside.yaml:6:9"},
		{"what is not there", r.Field("timeout"), "airside.yaml:2:5"},
		{"beyond the end", r.Field("to[7]"), "airside.yaml:5:7"},
		{"target", r.To.Targets[1].At, "airside.yaml:6:9"},
		{"part", r.Use[0].At, "airside.yaml:3:11"},
		{"weight", second.To.Targets[0].At, "airside.yaml:7:24"},
		{"one host", second.Field("host[0]"), "airside.yaml:7:13"},
		{"a route of no file", (&Route{At: Position{File: "x"}}).Field("to"), "x"},
	} {
		if x.got.String() != x.want {
			t.Errorf("%s stands at %s, want %s", x.what, x.got, x.want)
		}
	}
}

// Paths in the file, of settings and of references, are relative to its folder.
func TestLoadFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "airside.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key.txt", "s3cret\r\n")
	write("airside.yaml", `
listen: { address: ":1", tls: { cert: c.pem, key: keys/k.pem } }
policies: { k: { apikey: { keys: { a: "${file:key.txt}", b: "${file:key.txt}" } } } }
routes: [{ path: /*, use: [k], to: http://a:1 }]
`)
	c, err := Load(file, Lookup{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Listen[0].TLS.Key, filepath.Join(dir, "keys/k.pem"); got != want {
		t.Errorf("key is %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "key.txt")}, c.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got, want := c.Path("x"), filepath.Join(dir, "x"); got != want {
		t.Errorf("Path(x) = %q, want %q", got, want)
	}
	var k apikey
	p, _ := c.Policy("k")
	if err := p.Decode(&k); err != nil || string(k.Keys["a"]) != "s3cret" {
		t.Errorf("key is %q (%v)", string(k.Keys["a"]), err)
	}
	if got := c.Hash(); len(got) != 12 {
		t.Errorf("hash is %q", got)
	}
	write("airside.yaml", "routes: [{ to: http://a:1, when: '${file:.}' }]")
	_, err = Load(file, Lookup{}, nil)
	if want := "cannot read the file " + fmt.Sprintf("%q", dir) + ": it is not a regular file"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml"), Lookup{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that is fs.ErrNotExist", err)
	}
}

// What is not text, or too much of it, is refused as a whole.
func TestRefusedFiles(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, x := range []struct{ what, text, want string }{
		{"not UTF-8", "routes:\n- \"é\xff\"\n", "airside.yaml:2:5: the byte 0xFF is not UTF-8: save the file as UTF-8"},
		{"UTF-16", "\xff\xfer\x00", "airside.yaml:1:1: the file is UTF-16: save it as UTF-8"},
		{"NUL", "a\x00b", "airside.yaml:1:2: the control character U+0000 is not allowed in a YAML file"},
		{"too large", strings.Repeat("#\n", maxFile/2+1), "airside.yaml: the file is larger than 8 MiB"},
		{"long key", long + ": 1\nroutes: [{ to: http://a:1 }]", "airside.yaml:1:1: a key has at most 255 bytes"},
		{"control character in a key", "\"a\\x01\": 1\nroutes: [{ to: http://a:1 }]", "airside.yaml:1:1: a key holds no control characters"},
	} {
		_, err := Parse(testFile, []byte(x.text), testLookup(), nil)
		if err == nil || err.Error() != x.want {
			t.Errorf("%s: error %v, want %s", x.what, err, x.want)
		}
	}
}

// Keys and values are counted, those of aliases apart, and what is beyond the
// bound is refused once.
func TestManyValues(t *testing.T) {
	for _, x := range []struct {
		nodes, aliased int
		want           string
	}{
		{maxNodes - 7, 0, ""},
		{maxNodes - 6, 0, "airside.yaml:1:5: the file holds more than 4000000 keys and values"},
		{0, maxAliased - 1, ""},
		{0, maxAliased, "airside.yaml:1:5: aliases bring in more than 100000 values"},
	} {
		d := &decoder{doc: &document{name: testFile, text: []byte("a: [&x 1, 2, *x]")}}
		root, ok := d.parse()
		if !ok {
			t.Fatal(d.problems)
		}
		r := reader{decoder: d, refs: &references{}, nodes: x.nodes, aliased: x.aliased}
		r.node(root, 1)
		if got := d.problems.Error(); got != x.want {
			t.Errorf("beginning with %d and %d: problems %q, want %q", x.nodes, x.aliased, got, x.want)
		}
	}
}

// A byte order mark at the beginning is no part of the text.
func TestByteOrderMark(t *testing.T) {
	c := parse(t, "\ufeffroutes: [{ to: http://a:1 }]\n")
	if got, want := c.Routes[0].At.String(), "airside.yaml:1:10"; got != want {
		t.Errorf("the route stands at %s, want %s", got, want)
	}
}

// At most 256 targets are tried.
func TestManyTargets(t *testing.T) {
	var to []string
	for i := range 300 {
		to = append(to, fmt.Sprintf("http://a%d:1", i))
	}
	_, err := Parse(testFile, []byte("routes: [{ to: ["+strings.Join(to, ", ")+"] }]"), testLookup(), nil)
	if err == nil || !strings.HasSuffix(err.Error(), ": a route has at most 256 targets") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

// manyRoutes is a file with n routes, each with a policy of its own.
func manyRoutes(n int, to string) []byte {
	var b strings.Builder
	b.WriteString("policies: { p: { cors: {} } }\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - { path: /a%d/*, use: [p, { note: x }], to: %s%d }\n", i, to, i)
	}
	return []byte(b.String())
}

// A file with 100,000 routes is read in seconds, and one that is wrong in each of
// them is refused as fast, with the first of its problems.
func TestManyRoutes(t *testing.T) {
	const limit = time.Minute // it takes two seconds on an idle machine, and more under the race detector
	began := time.Now()
	c, err := Parse(testFile, manyRoutes(100_000, "http://a"), testLookup(), nil)
	if err != nil || len(c.Routes) != 100_000 {
		t.Fatal(err)
	}
	t.Logf("read in %v", time.Since(began))
	dump := c.Dump()
	t.Logf("%d bytes dumped after %v", len(dump), time.Since(began))
	_, err = Parse(testFile, manyRoutes(20_000, "upstream"), testLookup(), nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || lines[100] != "and 9900 more" || lines[0] != `airside.yaml:3:47: no upstream is called "upstream0"` {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if took := time.Since(began); took > limit {
		t.Errorf("it took %v", took)
	}
}

// What components use besides the routes counts as used.
func TestUnused(t *testing.T) {
	c := parse(t, `
upstreams: { a: { http: { url: http://a:1 } }, b: { http: { url: http://b:1 } } }
policies: { p: { cors: {} }, q: { cors: {} } }
routes: [{ to: http://a:1 }]
`)
	if got := len(c.Unused(nil, nil)); got != 4 {
		t.Errorf("%d unused, want 4", got)
	}
	got := c.Unused(map[string]bool{"a": true}, map[string]bool{"q": true})
	want := Problems{
		{Position{testFile, 2, 48}, `upstream "b" is not used by any route`},
		{Position{testFile, 3, 13}, `policy "p" is not used by any route`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unused (-want +got):\n%s", diff)
	}
}

// A configuration that was not read from a file can be asked the same.
func TestNoFile(t *testing.T) {
	c := &Config{}
	if c.Dump() != nil || c.Hash() != "" || c.Files() != nil || c.Path("x") != "x" || c.Unused(nil, nil) != nil {
		t.Error("it answers as if there was a file")
	}
	var s cors
	if err := (Part{}).Decode(&s); err != nil || len(s.Origins) != 1 {
		t.Errorf("%v, %+v", err, s)
	}
	at := Position{File: "kube"}
	got := Part{At: at}.Locate(airside.FieldErrorf("url", "is missing"))
	if diff := cmp.Diff(Problems{{at, "url: is missing"}}, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestProblems(t *testing.T) {
	at := func(line, column int) Position { return Position{"a.yaml", line, column} }
	p := Problems{{at(2, 1), "b"}, {at(1, 9), "c"}, {at(2, 1), "a"}, {at(1, 10), "d"}, {at(2, 1), "b"}, {Position{}, "nowhere"}, {Position{File: "a.yaml"}, "all of it"}}
	want := "nowhere\na.yaml: all of it\na.yaml:1:9: c\na.yaml:1:10: d\na.yaml:2:1: a\na.yaml:2:1: b"
	if got := p.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p[0].Message != "b" {
		t.Error("the problems themselves were sorted")
	}
	var many Problems
	for i := range 150 {
		many = append(many, Problem{at(i+1, 1), "x"})
	}
	lines := strings.Split(many.Error(), "\n")
	if len(lines) != 101 || lines[100] != "and 50 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if Problems(nil).asError() != nil {
		t.Error("no problem is an error")
	}
}

// A message is one line without control characters, whatever a component says.
func TestOneLine(t *testing.T) {
	got := oneLine("a\nb\x1b[31mc\u2028\xff" + strings.Repeat("é", maxMessage))
	if strings.ContainsAny(got, "\n\x1b\u2028") || len(got) > maxMessage+3 || !strings.HasSuffix(got, "...") || !utf8.ValidString(got) {
		t.Errorf("got %q", got)
	}
}
