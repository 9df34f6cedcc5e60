package basic

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// horse is the hash of "correct horse".
const horse = "$pbkdf2-sha256$i=100000$AAECAwQFBgcICQoLDA0ODw$V/LC8HOXSNUWQZsGKohGZjI8WD6krhZVBKgfe1PGKgk"

func environment() *airside.Env {
	kept := map[string]any{}
	return &airside.Env{Where: "policies.people", Keep: func(key string, build func() (any, error)) (any, error) {
		if v, ok := kept[key]; ok {
			return v, nil
		}
		v, err := build()
		kept[key] = v
		return v, err
	}}
}

func config() Config {
	var c Config
	c.Defaults()
	var alice User
	if err := alice.UnmarshalText([]byte(horse)); err != nil {
		panic(err)
	}
	c.Users = map[string]User{"alice": alice, "zoé": {Password: "pass:wörd", Claims: map[string]any{"roles": []any{"doctor"}}}}
	return c
}

func build(t testing.TB) airside.Middleware {
	t.Helper()
	c := config()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(environment(), c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func login(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func exchange(h http.Header) *airside.Exchange {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = h
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// TestLogin proves who is admitted, as whom, and that the agent never sees the
// password.
func TestLogin(t *testing.T) {
	const (
		missing = "send a user name and a password, by HTTP Basic authentication"
		wrong   = "the user name or the password is wrong"
	)
	alice, zoe := airside.Caller{ID: "alice"}, airside.Caller{ID: "zoé", Claims: map[string]any{"roles": []any{"doctor"}}}
	tests := []struct {
		name    string
		lines   []string
		caller  airside.Caller
		message string
	}{
		{"hash", []string{login("alice:correct horse")}, alice, ""},
		{"password with a colon, in UTF-8", []string{login("zoé:pass:wörd")}, zoe, ""},
		{"scheme in lower case", []string{"basic  " + login("alice:correct horse")[6:]}, alice, ""},
		{"wrong password", []string{login("alice:correct horsf")}, airside.Caller{}, wrong},
		{"other's password", []string{login("alice:pass:wörd")}, airside.Caller{}, wrong},
		{"empty password", []string{login("alice:")}, airside.Caller{}, wrong},
		{"unknown name", []string{login("bob:correct horse")}, airside.Caller{}, wrong},
		{"unknown name, empty", []string{login(":")}, airside.Caller{}, wrong},
		{"nothing", nil, airside.Caller{}, missing},
		{"no colon", []string{login("alice")}, airside.Caller{}, missing},
		{"another scheme", []string{"Bearer abc"}, airside.Caller{}, missing},
		{"no base64", []string{"Basic !!!!"}, airside.Caller{}, missing},
		{"no padding", []string{"Basic YTpi" + "YQ"}, airside.Caller{}, missing},
		{"a line end in base64", []string{"Basic YTpi\nYTpi"}, airside.Caller{}, missing},
		{"no UTF-8", []string{login("alice:\xff")}, airside.Caller{}, missing},
		{"a control character", []string{login("alice:a\x00b")}, airside.Caller{}, missing},
		{"too long", []string{login("alice:" + strings.Repeat("a", maxCredentials))}, airside.Caller{}, missing},
		{"two lines", []string{login("alice:correct horse"), login("alice:correct horse")}, airside.Caller{}, missing},
	}
	m := build(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Accept": {"a/b"}}
			if tt.lines != nil {
				h["Authorization"] = tt.lines
			}
			h["authorization"] = []string{"alias"}
			x := exchange(h.Clone())
			var sent http.Header
			handler := m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				sent = x.Request.Header.Clone()
				return &http.Response{}, nil
			}))
			for range 2 { // as a retry does; and once from what is remembered
				_, err := handler.Handle(x)
				message := ""
				if err != nil {
					e, ok := errors.AsType[*airside.Error](err)
					if !ok || e.Code != airside.Unauthenticated || e.Header.Get("WWW-Authenticate") != `Basic realm="airside", charset="UTF-8"` {
						t.Fatalf("got %v; want a challenge", err)
					}
					message = e.Message
				}
				if diff := cmp.Diff(tt.caller, x.Caller); diff != "" || message != tt.message {
					t.Errorf("message %q, want %q; caller (-want +got):\n%s", message, tt.message, diff)
				}
			}
			want := http.Header{"Accept": {"a/b"}}
			if tt.message != "" {
				want = nil
			}
			if diff := cmp.Diff(want, sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(h, x.Request.Header); diff != "" {
				t.Errorf("the request itself has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// checker is a verifier whose only place is taken.
func checker(t *testing.T) *verifier {
	t.Helper()
	env := environment()
	v, err := newVerifier(env, map[string]User{"alice": {Hash: horse}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := newVerifier(env, map[string]User{"bob": {Hash: horse}})
	if err != nil {
		t.Fatal(err)
	}
	if v.gate != again.gate {
		t.Fatal("two policies do not share the places")
	}
	v.gate = newGate(1)
	v.gate.places <- struct{}{}
	return v
}

// TestOneCheck proves that the same login is checked once, for all who bring it,
// and that one who goes away takes nobody along.
func TestOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := checker(t)
		var wg sync.WaitGroup
		defer wg.Wait()
		first, gone := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := v.verify(first, "alice:correct horse"); !errors.Is(err, context.Canceled) {
				t.Errorf("who went away: %v; want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		second, gone2 := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := v.verify(second, "alice:correct horse"); !errors.Is(err, context.Canceled) {
				t.Errorf("who waited for another and went away: %v; want %v", err, context.Canceled)
			}
		})
		for range 50 {
			wg.Go(func() {
				if c, err := v.verify(t.Context(), "alice:correct horse"); err != nil || c.ID != "alice" {
					t.Errorf("= %v, %v; want alice", c, err)
				}
			})
		}
		synctest.Wait()
		gone2()
		synctest.Wait()
		gone()
		synctest.Wait()
		if got := v.gate.waiting.Load(); got != 1 {
			t.Errorf("%d checks wait; want 1", got)
		}
		v.gate.leave()
		wg.Wait()
		v.gate.places <- struct{}{}
		if _, err := v.verify(t.Context(), "alice:correct horse"); err != nil { // needs no place
			t.Errorf("what was checked: %v", err)
		}
		if len(v.running) != 0 {
			t.Errorf("%d checks still run", len(v.running))
		}
	})
}

// TestBusy proves that the checks that wait are bounded, and that the next one is
// refused at once.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := checker(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range maxWaiting {
			wg.Go(func() {
				if _, err := v.verify(ctx, fmt.Sprintf("alice:%d", i)); !errors.Is(err, context.Canceled) {
					t.Errorf("guess %d: %v; want %v", i, err, context.Canceled)
				}
			})
		}
		synctest.Wait()
		_, err := (&door{verifier: v}).Handle(exchange(http.Header{"Authorization": {login("alice:one more")}}))
		if e, ok := errors.AsType[*airside.Error](err); !ok || e.Code != airside.Unavailable || e.RetryAfter == 0 {
			t.Errorf("one too many: %v; want code %s", err, airside.Unavailable)
		}
		cancel()
		wg.Wait()
		v.gate.leave()
		if _, err := v.verify(t.Context(), "alice:one more"); !errors.Is(err, errWrong) {
			t.Errorf("afterwards: %v; want %v", err, errWrong)
		}
	})
}

// TestSameWork proves that a name that is not known costs what a known one does.
func TestSameWork(t *testing.T) {
	c := config()
	c.Users["carl"] = User{Hash: airside.Secret(strings.Replace(horse, "i=100000", "i=250000", 1))}
	v, err := newVerifier(environment(), c.Users)
	if err != nil {
		t.Fatal(err)
	}
	if v.iterations != 250_000 || v.nobody.hash.iterations != 250_000 || len(v.nobody.hash.key) == 0 {
		t.Errorf("iterations %d, of nobody %d; want 250000", v.iterations, v.nobody.hash.iterations)
	}
}

// TestRecent proves that what is remembered is bounded, and what goes.
func TestRecent(t *testing.T) {
	r := newRecent(2)
	r.add(digest{1}, nil)
	r.add(digest{2}, nil)
	r.find(digest{1})
	r.add(digest{1}, nil)
	r.add(digest{3}, nil)
	for d, want := range map[digest]bool{{1}: true, {2}: false, {3}: true} {
		if _, got := r.find(d); got != want {
			t.Errorf("%d is remembered: %v; want %v", d[0], got, want)
		}
	}
	if r.order.Len() != 2 || len(r.index) != 2 {
		t.Errorf("%d and %d are remembered; want 2", r.order.Len(), len(r.index))
	}
}

// TestBuild proves what is refused when the configuration is read.
func TestBuild(t *testing.T) {
	with := func(name string, u User) Config {
		c := config()
		c.Users = map[string]User{name: u}
		return c
	}
	realm := config()
	realm.Realm = `a"b`
	many := map[string]User{}
	for i := range maxPasswords + 1 {
		many[fmt.Sprint(i)] = User{Password: "12345678"}
	}
	form := "users.a: " + errForm.Error()
	hashed := func(s string) Config { return with("a", User{Hash: airside.Secret(s)}) }
	tests := []struct {
		config Config
		want   string
	}{
		{Config{Realm: "a"}, "users: name 1 to 10000 users"},
		{Config{Realm: "a", Users: many}, "users: more than 100 users have a password in place of a hash"},
		{realm, `realm: is a name without ", \ and control characters`},
		{with("a:b", User{Hash: horse}), "users.a:b: the name of a user is not empty and has no colon and no control character"},
		{with("", User{Hash: horse}), "users.: the name of a user is not empty and has no colon and no control character"},
		{with("a", User{}), "users.a: give hash or password"},
		{with("a", User{Hash: horse, Password: "12345678"}), "users.a: give hash or password"},
		{with("a", User{Password: "1234567"}), "users.a.password: a password has at least 8 characters, and no control character"},
		{with("a", User{Password: airside.Secret(strings.Repeat("x", maxCredentials))}), "users.a: name and password are longer than 1KiB"},
		{hashed("correct horse"), form},
		{hashed("$2y$10$abcdefghijklmnopqrstuv"), form},
		{hashed("$pbkdf2-sha256$i=x$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw"), form},
		{hashed("$pbkdf2-sha256$i=600000$!$AAECAwQFBgcICQoLDA0ODw"), form},
		{hashed("$pbkdf2-sha256$i=600000$AAECAwQFBgcICQoLDA0ODw$!"), form},
		{hashed("$pbkdf2-sha256$i=29000$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODw"), "users.a: the hash has 29000 iterations; 100000 to 2000000 are allowed"},
		{hashed("$pbkdf2-sha256$i=600000$AAEC$AAECAwQFBgcICQoLDA0ODw"), "users.a: the salt of a hash has 8 to 64 bytes, and the key 16 to 32"},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if err == nil {
			_, err = New(environment(), tt.config)
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("got %v; want %s", err, tt.want)
		}
	}
	if _, err := parseHash("$pbkdf2-sha256$600000$AAECAwQFBgcICQoLDA0O.w$AAECAwQFBgcICQoLDA0ODw"); err != nil {
		t.Errorf("passlib's form: %v", err)
	}
	if got := fmt.Sprintf("%v %+v", config(), config()); strings.Contains(got, "wörd") || strings.Contains(got, "pbkdf2") {
		t.Errorf("the configuration prints a secret: %s", got)
	}
}

// FuzzParse proves that no header panics, and that what is read can be written.
func FuzzParse(f *testing.F) {
	f.Add("Basic YTpi", horse)
	f.Add("basic ", "$pbkdf2-sha256$i=100000$$")
	f.Fuzz(func(t *testing.T, line, hash string) {
		if got, ok := parse([]string{line}); ok {
			if !strings.EqualFold(strings.Join(strings.Fields(line), " "), login(got)) || len(got) > maxCredentials {
				t.Errorf("%q is read as %q", line, got)
			}
		}
		if h, err := parseHash(hash); err == nil && (h.iterations < minIterations || len(h.key) < minKey) {
			t.Errorf("%q is taken", hash)
		}
	})
}

func BenchmarkRemembered(b *testing.B) {
	h := build(b)(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, nil }))
	x := exchange(http.Header{"Authorization": {login("alice:correct horse")}, "Accept": {"a/b"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	h, err := parseHash(horse)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := h.matches("correct horse", 600_000); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
