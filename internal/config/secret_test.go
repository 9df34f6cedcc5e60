package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// secretFile holds the word "barracuda" wherever a secret may stand, and the
// references whose values are secret; every way to write a reference is there.
const secretFile = `# a comment with barracuda in it
upstreams:
  a: { http: { url: "http://user:barracuda@a:1/x?y", auth: { bearer: barracuda, basic: { user: joe, password: 'barracuda!' } } } }
  b: { http: { url: "http://${env:HOST}:${env:PORT}", auth: { bearer: "barracuda${env:KEY}barracuda${env:NONE:-barracuda}" } } }
  c: { http: { url: "http://${env:HOST}:${file:secret.txt}@c:1" } }
policies:
  k:
    apikey:
      keys: { x: &x barracuda, y: "${env:KEY}", z: |
          barracuda
          and more
        }
  h: { headers: { set: { Authorization: Bearer barracuda, Cookie: "a=barracuda", X-Api-Key: barracuda, set_cookie: barracuda, X-Other: *x } } }
  s: { static: { json: { password: [barracuda, barracuda], client_secret: barracuda, api-key: 424242424242, token: { name: shown }, apikey: barracuda } } }
  n: { note: "${env:KEY}" }
use: [k, h, s, n]
routes:
  - { path: /*, headers: { Proxy-Authorization: barracuda }, to: [a, b, c] }
`

// secretFile with its keys of literal blocks written in block style.
func secretText() []byte {
	return []byte(strings.Replace(secretFile, "      keys: { x: &x barracuda, y: \"${env:KEY}\", z: |\n          barracuda\n          and more\n        }\n",
		"      keys:\n        x: &x barracuda\n        y: \"${env:KEY}\"\n        z: |\n          barracuda\n          and more\n", 1))
}

// No secret is in the dump: not those of the file, and not the values of
// references, which are written as references.
func TestDumpSecrets(t *testing.T) {
	c, err := Parse(testFile, secretText(), testLookup(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dump := string(c.Dump())
	for _, secret := range []string{"barracuda", "42424242", "sk-live", "records.example", "9000", "hunter22"} {
		if strings.Contains(dump, secret) {
			t.Errorf("%q is in the dump", secret)
		}
	}
	want := `upstreams:
  a: { http: { url: http://user:***@a:1/x?y, auth: { bearer: "***", basic: { user: joe, password: "***" } } } }
  b: { http: { url: "http://${env:HOST}:${env:PORT}", auth: { bearer: "***${env:KEY}***${env:NONE:-***}" } } }
  c: { http: { url: "http://${env:HOST}:${file:secret.txt}@c:1" } }
policies:
  k:
    apikey:
      keys:
        x: "***"
        y: "${env:KEY}"
        z: "***"
  h: { headers: { set: { Authorization: "***", Cookie: "***", X-Api-Key: "***", set_cookie: "***", X-Other: "***" } } }
  s: { static: { json: { password: ["***", "***"], client_secret: "***", api-key: "***", token: { name: shown }, apikey: "***" } } }
  n: { note: "${env:KEY}" }
use: [k, h, s, n]
routes:
  - { path: /*, headers: { Proxy-Authorization: "***" }, to: [a, b, c] }
`
	if diff := cmp.Diff(want, dump); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}

// No secret is in a message, whatever type the setting has that it was written
// for: neither a value of a reference nor a literal where secrets stand.
func TestMessagesShowNoSecret(t *testing.T) {
	lookup := Lookup{
		Env:  func(string) (string, bool) { return "barracuda", true },
		File: func(string) ([]byte, error) { return []byte("barracuda"), nil },
	}
	fields := []string{
		"text", "flag", "int", "small", "unsigned", "float", "wait", "size", "secret", "secrets", "addr",
		"strings", "nested", "pointer", "deep", "mode", "later", "laters", "unknown",
	}
	for _, value := range []string{"${env:X}", "a${env:X}b", "${file:x}", "[ '${env:X}' ]", "{ a: '${env:X}' }", "[[ '${env:X}' ]]", "{ inner: '${env:X}' }", "{ a: { url: '${env:X}' , weight: '${env:X}' } }"} {
		for _, field := range fields {
			quoted := value
			if !strings.ContainsAny(value[:1], "[{") {
				quoted = "'" + value + "'"
			}
			refuse(t, fmt.Sprintf("routes: [{ to: http://a:1, use: [{ everything: { %s: %s } }] }]", field, quoted), lookup)
		}
	}
	for _, text := range []string{
		"listen: '${env:X}'", "listen: { address: '${env:X}:1x' }", "listen: { address: ':1', trust: ['${env:X}'], protocols: ['${env:X}'], engine: '${env:X}', limits: '${env:X}' }",
		"admin: '${env:X}'", "telemetry: { log: { level: '${env:X}', format: '${env:X}' } }", "shutdown: { grace: '${env:X}' }",
		"upstreams: '${env:X}'", "upstreams: { a: '${env:X}' }", "policies: { a: ['${env:X}'] }", "upstreams: { a: { http: { url: '${env:X}' } } }", "upstreams: { a: { http: { url: '${env:X}://x' } } }",
		"use: ['${env:X}']", "use: '${env:X}'", "use: [{ allow: '(${env:X}' }]", "use: [{ allow: { when: '(${env:X}' } }]",
		"policies: { p: { apikey: '${env:X}' } }", "policies: { p: { apikey: { keys: barracuda, login: barracuda } } }",
		"policies: { p: { apikey: { keys: { a: [barracuda] }, login: { user: x, password: { a: barracuda } } } } }",
		"policies: { p: { apikey: { keys: {}, login: { user: x, password: barra } } } }",
		"upstreams: { a: { http: { url: http://a, auth: barracuda } } }", "upstreams: { a: { http: { url: http://a, auth: { bearer: [barracuda], basic: barracuda } } } }",
		"policies: { p: { everything: { secrets: barracuda, secret: { barracud: 1 } } } }",
	} {
		refuse(t, text+"\nroutes: [{ to: a }]", lookup)
	}
	for _, key := range []string{"name", "host", "path", "method", "headers", "query", "protocol", "use", "to", "timeout", "topic"} {
		refuse(t, "routes: [{ to: http://a:1x, "+key+": '${env:X}' }]", lookup)
		refuse(t, "routes: [{ to: '${env:X}', "+key+": { a: '${env:X}' } }]", lookup)
	}
}

func refuse(t *testing.T, text string, lookup Lookup) {
	t.Helper()
	const secret = "barracuda"
	c, err := Parse(testFile, []byte(text), lookup, nil)
	if err == nil {
		if dump := c.Dump(); bytes.Contains(dump, []byte(secret)) && !strings.Contains(text, secret) {
			t.Errorf("%s: the secret is in the dump:\n%s", text, dump)
		}
		return
	}
	for i := range len(secret) - shown + 1 {
		if piece := secret[i : i+shown]; strings.Contains(strings.ToLower(err.Error()), piece) {
			t.Errorf("%s: %q is in the message\n%v", text, piece, err)
			return
		}
	}
}

// Which keys name a secret.
func TestSecretKey(t *testing.T) {
	for _, x := range []struct {
		key  string
		want bool
	}{
		{"authorization", true},
		{"Proxy-Authorization", true},
		{"API_KEY", true},
		{"x-api-key", true},
		{"apikey", true},
		{"clientSecret", false},
		{"client_secret", true},
		{"Set-Cookie", true},
		{"key", false},
		{"monkey", false},
		{"tokens", false},
		{"pre_token", true},
		{"password", true},
		{"", false},
	} {
		if got := secretKey(x.key); got != x.want {
			t.Errorf("secretKey(%q) = %v, want %v", x.key, got, x.want)
		}
	}
}

// Under such a key text is hidden, and a number that is long enough to be one.
func TestHide(t *testing.T) {
	for _, x := range []struct {
		n    node
		want bool
	}{
		{node{kind: text, text: "x"}, true},
		{node{kind: whole, text: "5"}, false},
		{node{kind: whole, text: "424242"}, true},
		{node{kind: boolean, text: "true"}, false},
	} {
		if hide(&x.n); x.n.secret != x.want {
			t.Errorf("%q is hidden: %v, want %v", x.n.text, x.n.secret, x.want)
		}
	}
}

// A message shows a secret if it holds four letters of it, or all of a shorter
// one.
func TestShows(t *testing.T) {
	for _, x := range []struct {
		message, secret string
		want            bool
	}{
		{"is wrong", "", false},
		{"is wrong", "x", false},
		{"is wrong", "w", true},
		{"is wrong", "barracuda", false},
		{"cuda is wrong", "barracuda", true},
		{"BARR", "barracuda", true},
		{"bar", "barracuda", false},
		{"ab", "abc", false},
		{"xabcx", "ABC", true},
	} {
		if got := shows(x.message, x.secret); got != x.want {
			t.Errorf("shows(%q, %q) = %v, want %v", x.message, x.secret, got, x.want)
		}
	}
}

// Which literal parts of a secret are left when it holds references.
func TestWithoutLiterals(t *testing.T) {
	for _, x := range []struct{ raw, want string }{
		{"${env:A}", "${env:A}"},
		{"${env:A:-x}", "${env:A:-***}"},
		{"x${env:A}y${file:b}", "***${env:A}***${file:b}"},
		{"$${x}${env:A}", "***"},
		{"${env:A}$${x}", "${env:A}***"},
	} {
		if got := withoutLiterals(&node{kind: text, ref: true, raw: x.raw}); got != x.want {
			t.Errorf("%q is shown as %q, want %q", x.raw, got, x.want)
		}
	}
	if got := withoutLiterals(&node{kind: text, text: "x"}); got != masked {
		t.Errorf("a literal is shown as %q", got)
	}
}

// The password of a URL is masked, and nothing else of it.
func TestWithoutPassword(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"http://a:1/x@y", "http://a:1/x@y"},
		{"http://u:p@a:1", "http://u:***@a:1"},
		{"redis://:p@a:1", "redis://:***@a:1"},
		{"x http://u:p@a, http://v:q@b", "x http://u:***@a, http://v:***@b"},
		{"http://u:${env:P}@a", "http://u:${env:P}@a"},
		{"http://u:x${env:P}@a", "http://u:***@a"},
		{"http://u:${env:P:-q}@a", "http://u:***@a"},
		{"http://u:${env:P}q@a", "http://u:***@a"},
		{"http://u@a", "http://u@a"},
		{"http://${env:U}:${file:p/@}@a", "http://${env:U}:${file:p/@}@a"},
		{"http://${env:U}:p@a", "http://${env:U}:***@a"},
		{"u:p@a", "u:p@a"},
	} {
		if got := withoutPassword(x.text); got != x.want {
			t.Errorf("%q is shown as %q, want %q", x.text, got, x.want)
		}
	}
}

// What came from a reference, or is a Secret, is not written by fmt either.
func TestSecretType(t *testing.T) {
	got := decoded[everything](t, "everything: { secret: barracuda }")
	if s := fmt.Sprintf("%v %+v %#v %q", got.Secret, got.Secret, got.Secret, got.Secret); strings.Contains(s, "cuda") {
		t.Error(s)
	}
	if got.Secret != airside.Secret("barracuda") {
		t.Errorf("the secret is %q", string(got.Secret))
	}
}
