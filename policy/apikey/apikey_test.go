package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

const (
	aliceKey = "alice-0123456789abcdef"
	bobKey   = "bob-0123456789abcdef"
	oldKey   = "old-0123456789abcdef"
)

func hash(key string) string {
	d := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(d[:])
}

func config(change func(*Config)) Config {
	var c Config
	c.Defaults()
	var alice Key
	if err := alice.UnmarshalText([]byte(aliceKey)); err != nil {
		panic(err)
	}
	c.Keys = map[string]Key{
		"alice": alice,
		"bob":   {Hash: []string{hash(bobKey)}, Key: []airside.Secret{oldKey}, Claims: map[string]any{"tenant": "blue"}},
		"eve":   {Hash: []string{hash("eve-0123456789abcdef")}, Disabled: true},
		"tom":   {Hash: []string{hash("tom-0123456789abcdef")}, Expires: time.Unix(1, 0)},
	}
	if change != nil {
		change(&c)
	}
	return c
}

func build(t testing.TB, c Config) airside.Middleware {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(target string, h http.Header) *airside.Exchange {
	r := httptest.NewRequest("GET", target, nil)
	r.Header = h
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

// TestKey proves who is admitted, as whom, and that the agent never sees a key.
func TestKey(t *testing.T) {
	query := func(c *Config) { c.Query = "key" }
	only := func(names ...string) func(c *Config) { return func(c *Config) { c.In = names } }
	tests := []struct {
		name   string
		change func(*Config)
		target string
		header http.Header
		caller airside.Caller
		code   airside.Code
		sent   http.Header // to the agent
		sentTo string
	}{
		{"header", nil, "/", header("X-Api-Key", aliceKey, "Accept", "a/b"), airside.Caller{ID: "alice"}, "", header("Accept", "a/b"), "/"},
		{"bearer", nil, "/", header("Authorization", "bearer  "+bobKey), airside.Caller{ID: "bob", Claims: map[string]any{"tenant": "blue"}}, "", header(), "/"},
		{"second key", nil, "/", header("X-Api-Key", oldKey), airside.Caller{ID: "bob", Claims: map[string]any{"tenant": "blue"}}, "", header(), "/"},
		{"twice the same", nil, "/", header("X-Api-Key", aliceKey, "Authorization", "Bearer "+aliceKey), airside.Caller{ID: "alice"}, "", header(), "/"},
		{"aliases go too", nil, "/", header("X-Api-Key", aliceKey, "X_api_key", aliceKey, "x-API-key", "x", "authorization", "Bearer x"), airside.Caller{ID: "alice"}, "", header(), "/"},
		{"another scheme stays", nil, "/", header("X-Api-Key", aliceKey, "Authorization", "Basic YTpi"), airside.Caller{ID: "alice"}, "", header("Authorization", "Basic YTpi"), "/"},
		{"an empty bearer goes", nil, "/", header("X-Api-Key", aliceKey, "Authorization", "Bearer"), airside.Caller{ID: "alice"}, "", header(), "/"},
		{"two keys", nil, "/", header("X-Api-Key", aliceKey, "Authorization", "Bearer "+bobKey), airside.Caller{}, airside.Invalid, nil, ""},
		{"a key and rubbish", nil, "/", header("X-Api-Key", aliceKey, "Authorization", "Bearer x"), airside.Caller{}, airside.Invalid, nil, ""},
		{"two lines", nil, "/", header("X-Api-Key", aliceKey, "X-Api-Key", bobKey), airside.Caller{}, airside.Invalid, nil, ""},
		{"none", nil, "/", header(), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"empty", nil, "/", header("X-Api-Key", "", "Authorization", "Bearer "), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"unknown", nil, "/", header("X-Api-Key", "no-0123456789abcdef"), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"a hash is no key", nil, "/", header("X-Api-Key", hash(bobKey)), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"too long", nil, "/", header("X-Api-Key", strings.Repeat("x", maxKey+1)), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"disabled", nil, "/", header("X-Api-Key", "eve-0123456789abcdef"), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"expired", nil, "/", header("X-Api-Key", "tom-0123456789abcdef"), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"basic is no key", nil, "/", header("Authorization", "Basic "+aliceKey), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"query is off", nil, "/?key=" + aliceKey, header(), airside.Caller{}, airside.Unauthenticated, nil, ""},
		{"query", query, "/?a=%20&key=" + aliceKey + "&b=1&k%65y=" + aliceKey, header(), airside.Caller{ID: "alice"}, "", header(), "/?a=%20&b=1"},
		{"query emptied", query, "/?key=" + aliceKey, header("X-Api-Key", aliceKey), airside.Caller{ID: "alice"}, "", header(), "/"},
		{"query differs", query, "/?key=" + aliceKey, header("X-Api-Key", bobKey), airside.Caller{}, airside.Invalid, nil, ""},
		{"query twice", query, "/?key=" + aliceKey + "&key=" + bobKey, header(), airside.Caller{}, airside.Invalid, nil, ""},
		{"query broken", query, "/?key=%zz", header(), airside.Caller{}, airside.Invalid, nil, ""},
		{"other header", only("x-goog-api-key"), "/", header("X-Goog-Api-Key", aliceKey, "X-Api-Key", "mine"), airside.Caller{ID: "alice"}, "", header("X-Api-Key", "mine"), "/"},
		{"wrong header", only("x-goog-api-key"), "/", header("X-Api-Key", aliceKey), airside.Caller{}, airside.Unauthenticated, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := exchange(tt.target, tt.header.Clone())
			var sent http.Header
			var sentTo string
			h := build(t, config(tt.change))(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				sent, sentTo = x.Request.Header.Clone(), x.Request.URL.RequestURI()
				return &http.Response{}, nil
			}))
			for range 2 { // as a retry does
				_, err := h.Handle(x)
				var code airside.Code
				if err != nil {
					code = airside.AsError(err).Code
				}
				if code != tt.code {
					t.Fatalf("got %v; want code %q", err, tt.code)
				}
				if err != nil && strings.Contains(err.Error(), aliceKey) {
					t.Errorf("the message shows the key: %v", err)
				}
				if diff := cmp.Diff(tt.caller, x.Caller); diff != "" {
					t.Errorf("caller (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.sent, sent); diff != "" || sentTo != tt.sentTo {
					t.Errorf("sent to %q, want %q (-want +got):\n%s", sentTo, tt.sentTo, diff)
				}
			}
			if diff := cmp.Diff(tt.header, x.Request.Header); diff != "" {
				t.Errorf("the request itself has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChallenge proves what a refused client is told.
func TestChallenge(t *testing.T) {
	tests := []struct {
		in          []string
		key         string
		want        string
		wantMessage string
	}{
		{[]string{"X-Api-Key", "Authorization"}, "", `Bearer realm="airside"`, `send an API key in the header X-Api-Key, or in the header Authorization, as "Bearer KEY"`},
		{[]string{"X-Api-Key"}, "", `ApiKey realm="airside"`, `send an API key in the header X-Api-Key`},
		{[]string{"X-Api-Key", "Authorization"}, "unknown", `Bearer realm="airside", error="invalid_token"`, `the API key is not known; send an API key in the header X-Api-Key, or in the header Authorization, as "Bearer KEY" that is valid`},
		{[]string{"X-Api-Key"}, "tom-0123456789abcdef", `ApiKey realm="airside"`, `the API key has expired; send an API key in the header X-Api-Key that is valid`},
		{[]string{"X-Api-Key"}, "eve-0123456789abcdef", `ApiKey realm="airside"`, `the API key is disabled; send an API key in the header X-Api-Key that is valid`},
	}
	for _, tt := range tests {
		h := header()
		if tt.key != "" {
			h.Set("X-Api-Key", tt.key)
		}
		_, err := build(t, config(func(c *Config) { c.In = tt.in }))(nil).Handle(exchange("/", h))
		e, ok := errors.AsType[*airside.Error](err)
		if !ok || e.Message != tt.wantMessage || e.Header.Get("WWW-Authenticate") != tt.want {
			t.Errorf("%v with key %q: %v, %v; want %s, %s", tt.in, tt.key, err, e.Header, tt.wantMessage, tt.want)
		}
	}
}

// TestExpires proves that a key ends at its time and not before.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, config(func(c *Config) {
			c.Keys = map[string]Key{"a": {Key: []airside.Secret{aliceKey}, Expires: time.Now().Add(time.Hour)}}
		}))(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return &http.Response{}, nil }))
		for _, tt := range []struct {
			wait time.Duration
			ok   bool
		}{{0, true}, {time.Hour - time.Nanosecond, true}, {time.Nanosecond, false}} {
			<-time.After(tt.wait)
			if _, err := h.Handle(exchange("/", header("X-Api-Key", aliceKey))); (err == nil) != tt.ok {
				t.Errorf("after %v more: %v; want admitted %v", tt.wait, err, tt.ok)
			}
		}
	})
}

// TestFile proves how a file of keys is read.
func TestFile(t *testing.T) {
	write := func(text string) string {
		name := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	file := func(text string) Config {
		return config(func(c *Config) {
			c.Keys, c.File = map[string]Key{"alice": {Key: []airside.Secret{aliceKey}}}, write(text)
		})
	}
	good := build(t, file("# people\n\nbob:"+hash(bobKey)+"\r\n  bob:"+hash(oldKey)+"\n"))(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		return &http.Response{Header: header("User", x.Caller.ID)}, nil
	}))
	for key, want := range map[string]string{aliceKey: "alice", bobKey: "bob", oldKey: "bob"} {
		resp, err := good.Handle(exchange("/", header("X-Api-Key", key)))
		if err != nil || resp.Header.Get("User") != want {
			t.Errorf("%s: %v, %v; want %s", key, resp, err, want)
		}
	}
	for text, want := range map[string]string{
		"bob " + bobKey:                                 ":1: a line is NAME:sha256:HEX",
		"\nbob:" + bobKey:                               ":2: a hash is sha256: and 64 hexadecimal digits, as of: printf %s KEY | sha256sum",
		"bob:" + hash(aliceKey):                         `:1: this is the key of "alice" too`,
		"alice:" + hash(bobKey):                         `:1: "alice" is the name of a caller in keys; write all its keys there`,
		":" + hash(bobKey):                              ":1: a line is NAME:sha256:HEX",
		"bob:" + hash(bobKey) + "\nbob:" + hash(bobKey): ":2: this key is given twice",
	} {
		_, err := New(nil, file(text))
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), bobKey) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
	if _, err := New(nil, Config{File: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := New(nil, Config{File: write("# nothing\n")}); err == nil {
		t.Error("a file without a key, and no key, is taken")
	}
}

// TestBuild proves what is refused when the configuration is read, and that no
// message shows a key.
func TestBuild(t *testing.T) {
	keys := func(k map[string]Key) Config { return config(func(c *Config) { c.Keys = k }) }
	secret := func(s string) Key { return Key{Key: []airside.Secret{airside.Secret(s)}} }
	tests := []struct {
		config Config
		want   string
	}{
		{keys(nil), "keys: there is no key; make one by: openssl rand -hex 32"},
		{keys(map[string]Key{"a": {}}), "keys.a: give key or hash"},
		{keys(map[string]Key{"": secret(aliceKey)}), "keys.: a caller needs a name"},
		{keys(map[string]Key{"a": secret("short-key-12345")}), "keys.a.key[0]: a key of less than 16 characters can be guessed; make one by: openssl rand -hex 32"},
		{keys(map[string]Key{"a": secret("")}), "keys.a.key[0]: a key of less than 16 characters can be guessed; make one by: openssl rand -hex 32"},
		{keys(map[string]Key{"a": secret(strings.Repeat("x", maxKey+1))}), "keys.a.key[0]: a key has at most 512 characters"},
		{keys(map[string]Key{"a": secret("with a space in the key")}), "keys.a.key[0]: a key has visible ASCII characters only, and no space"},
		{keys(map[string]Key{"a": secret("mit-Ümlaut-0123456789")}), "keys.a.key[0]: a key has visible ASCII characters only, and no space"},
		{keys(map[string]Key{"a": secret(aliceKey), "b": {Hash: []string{hash(aliceKey)}}}), `keys.b.hash[0]: this is the key of "a" too`},
		{keys(map[string]Key{"a": {Key: []airside.Secret{aliceKey}, Hash: []string{hash(aliceKey)}}}), `keys.a.hash[0]: this key is given twice`},
		{keys(map[string]Key{"a": {Hash: []string{"md5:00"}}}), "keys.a.hash[0]: a hash is sha256: and 64 hexadecimal digits, as of: printf %s KEY | sha256sum"},
		{keys(map[string]Key{"a": {Hash: []string{hash("")}}}), "keys.a.hash[0]: this is the hash of nothing"},
		{config(func(c *Config) { c.In = nil }), "in: name at least one header"},
		{config(func(c *Config) { c.In = []string{"a b"} }), `in[0]: "a b" is not the name of a header`},
		{config(func(c *Config) { c.In = []string{"cookie"} }), "in[0]: a key cannot be in Cookie"},
		{config(func(c *Config) { c.In = []string{"X-A", "x_a"} }), "in[1]: is the same header as X-A"},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if err == nil {
			_, err = New(nil, tt.config)
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("got %v; want %s", err, tt.want)
		}
	}
	if got := fmt.Sprintf("%v %+v", config(nil), config(nil)); strings.Contains(got, aliceKey) {
		t.Errorf("the configuration prints a key: %s", got)
	}
}

// FuzzKey proves that no request panics, and that nobody is admitted without a
// key, nor a key sent on.
func FuzzKey(f *testing.F) {
	f.Add("Bearer "+aliceKey, aliceKey, "key="+aliceKey)
	f.Add("bearer", "", "a=%2&key")
	f.Fuzz(func(t *testing.T, authorization, key, query string) {
		m, err := New(nil, config(func(c *Config) { c.Query = "key" }))
		if err != nil {
			t.Fatal(err)
		}
		x := exchange("/", header("Authorization", authorization, "X-Api-Key", key))
		x.Request.URL.RawQuery = query
		all := authorization + "\n" + key + "\n" + x.Request.URL.Query().Get("key")
		_, _ = m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			if !strings.Contains(all, aliceKey) && !strings.Contains(all, bobKey) && !strings.Contains(all, oldKey) {
				t.Errorf("%q, %q, %q: admitted as %v", authorization, key, query, x.Caller)
			}
			if x.Request.Header.Get("X-Api-Key") != "" || x.Request.URL.Query().Has("key") {
				t.Errorf("%q, %q, %q: sent on %v %s", authorization, key, query, x.Request.Header, x.Request.URL.RawQuery)
			}
			return &http.Response{}, nil
		})).Handle(x)
	})
}

func BenchmarkKey(b *testing.B) {
	h := build(b, config(nil))(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, nil }))
	x := exchange("/", header("X-Api-Key", aliceKey, "Accept", "*/*", "User-Agent", "bench", "Content-Type", "application/json"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
