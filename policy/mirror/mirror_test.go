package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a mirror and what is around it.
type rig struct {
	handler airside.Handler
	close   func() error
	log     *bytes.Buffer
}

func build(t testing.TB, change func(*Config), to airside.HandlerFunc) *rig {
	t.Helper()
	c := Config{To: "shadow"}
	c.Defaults()
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &rig{log: &bytes.Buffer{}}
	env := &airside.Env{
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "stack" {
				return slog.Attr{}
			}
			return a
		}})),
		Upstream: func(name string) (airside.Handler, error) {
			if name != "shadow" {
				return nil, errors.New("no upstream " + name)
			}
			return to, nil
		},
		OnClose: func(f func() error) { r.close = f },
	}
	m, err := New(env, c)
	if err != nil {
		t.Fatal(err)
	}
	r.handler = m(agent)
	return r
}

// usual leaves the settings as they are by default.
func usual(*Config) {}

// agent answers with what it read.
var agent = airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
	b, err := io.ReadAll(x.Request.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: airside.BodyReader(b)}, nil
})

func exchange(ctx context.Context, body io.Reader, headers ...string) *airside.Exchange {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://example.test/a%2Fb?c=d", body)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
	x.ID = "id-1"
	x.Client = airside.Client{Addr: "192.0.2.7", Scheme: "https"}
	x.Caller = airside.Caller{ID: "alice", Claims: map[string]any{"a": 1}}
	x.Call = airside.Call{Operation: "POST", Target: "t", ID: "7"}
	x.Route = "r"
	return x
}

// body reads the answer of an exchange.
func body(t *testing.T, h airside.Handler, x *airside.Exchange) string {
	t.Helper()
	resp, err := h.Handle(x)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A copied is what a copy consisted of.
type copied struct {
	Method, URL, Host, Body string
	Length                  int64
	Header                  http.Header
	ID, Route               string
	Client                  airside.Client
	Call                    airside.Call
	Caller                  airside.Caller
}

// collect is an upstream that notes what it gets.
func collect(out chan<- copied) airside.HandlerFunc {
	return func(x *airside.Exchange) (*http.Response, error) {
		b, err := io.ReadAll(x.Request.Body)
		if err != nil {
			return nil, err
		}
		out <- copied{
			x.Request.Method, x.Request.URL.String(), x.Request.Host, string(b), x.Request.ContentLength,
			x.Request.Header.Clone(), x.ID, x.Route, x.Client, x.Call, x.Caller,
		}
		return &http.Response{StatusCode: http.StatusAccepted, Body: io.NopCloser(strings.NewReader("thrown away"))}, nil
	}
}

// What a copy consists of, and that the request itself goes on unchanged.
func TestCopy(t *testing.T) {
	secret := []string{
		"Authorization", "Bearer x", "Cookie", "a=b", "X_api-key", "k", "X-Goog-Api-Key", "g", "Proxy-Authorization", "p", "Api-Key", "z",
		"X_airside_Mirror", "forged", "Expect", "100-continue", "Accept", "text/plain",
	}
	for _, tt := range []struct {
		credentials bool
		want        http.Header
	}{
		{false, http.Header{"Accept": {"text/plain"}, "X-Airside-Mirror": {"1"}, "Content-Length": {"5"}}},
		{true, http.Header{
			"Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "X_api-key": {"k"}, "X-Goog-Api-Key": {"g"}, "Proxy-Authorization": {"p"}, "Api-Key": {"z"},
			"Accept": {"text/plain"}, "X-Airside-Mirror": {"1"}, "Content-Length": {"5"},
		}},
	} {
		got := make(chan copied, 1)
		r := build(t, func(c *Config) { c.Credentials = tt.credentials }, collect(got))
		x := exchange(t.Context(), strings.NewReader("hello"), secret...)
		before := x.Request.Header.Clone()
		if got := body(t, r.handler, x); got != "hello" {
			t.Errorf("the agent answered %q, want %q", got, "hello")
		}
		if diff := cmp.Diff(before, x.Request.Header); diff != "" {
			t.Errorf("the headers of the request changed (-before +after):\n%s", diff)
		}
		want := copied{
			"POST", "http://example.test/a%2Fb?c=d", "example.test", "hello", 5, tt.want, "id-1", "r",
			airside.Client{Addr: "192.0.2.7", Scheme: "https"},
			airside.Call{Operation: "POST", Target: "t", ID: "7"},
			airside.Caller{ID: "alice", Claims: map[string]any{"a": 1}},
		}
		if diff := cmp.Diff(want, <-got); diff != "" {
			t.Errorf("credentials %v (-want +got):\n%s", tt.credentials, diff)
		}
		if err := r.close(); err != nil || r.log.Len() > 0 {
			t.Errorf("closing: %v, log %q; want neither", err, r.log)
		}
	}
}

// Which requests are copied.
func TestWhich(t *testing.T) {
	chunked := func(x *airside.Exchange) *airside.Exchange {
		x.Request.ContentLength = -1
		return x
	}
	connect := exchange(t.Context(), nil)
	connect.Request.Method = http.MethodConnect
	for _, tt := range []struct {
		name string
		x    *airside.Exchange
		want bool
	}{
		{"no body", exchange(t.Context(), nil), true},
		{"body as large as may be", exchange(t.Context(), strings.NewReader("12345678")), true},
		{"body too large", exchange(t.Context(), strings.NewReader("123456789")), false},
		{"body of unknown length", chunked(exchange(t.Context(), strings.NewReader("1"))), false},
		{"upgrade", exchange(t.Context(), nil, "Upgrade", "websocket"), false},
		{"connect", connect, false},
		{"a copy", exchange(t.Context(), nil, "X-Airside-Mirror", "1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan copied, 1)
			r := build(t, func(c *Config) { c.Body = 8 }, collect(got))
			body(t, r.handler, tt.x)
			if !tt.want {
				if err := r.close(); err != nil || len(got) != 0 {
					t.Errorf("%d copies, %v; want none", len(got), err)
				}
				return
			}
			<-got
			_ = r.close() // always nil
		})
	}
}

// A request whose body breaks is not copied, and fails as it would without a mirror.
func TestBrokenBody(t *testing.T) {
	want := airside.Errorf(airside.Invalid, "broken")
	got := make(chan copied, 1)
	r := build(t, usual, collect(got))
	x := exchange(t.Context(), io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(want)))
	x.Request.ContentLength = 5
	x = airside.NewExchange(x.Request, x.Log)
	if _, err := r.handler.Handle(x); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err := r.close(); err != nil || len(got) != 0 {
		t.Errorf("%d copies, %v; want none", len(got), err)
	}
}

func TestShare(t *testing.T) {
	const n = 10_000
	for _, tt := range []struct {
		share       float64
		least, most int
	}{{0, 0, 0}, {100, n, n}, {30, 2500, 3500}} {
		c := Config{}
		c.Defaults()
		draws := 0
		m := &mirror{Config: c, random: func() float64 { draws++; return float64(draws*7919%n) / n }}
		m.Share = tt.share
		hit := 0
		for range n {
			if m.wants(exchange(t.Context(), nil).Request) {
				hit++
			}
		}
		if hit < tt.least || hit > tt.most {
			t.Errorf("%v %%: %d of %d, want %d to %d", tt.share, hit, n, tt.least, tt.most)
		}
	}
}

// A shadow that hangs holds nobody up: the exchange is answered at once, the copy
// outlives the client, and it ends after its time.
func TestHangingShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type ctxKey struct{}
		ended := make(chan error, 1)
		r := build(t, func(c *Config) { c.Timeout = 7 * time.Second }, func(x *airside.Exchange) (*http.Response, error) {
			if x.Context().Value(ctxKey{}) != nil {
				t.Error("a copy sees what the exchange keeps in its context")
			}
			<-x.Context().Done()
			ended <- x.Context().Err()
			return nil, x.Context().Err()
		})
		ctx, leave := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, 1))
		start := time.Now()
		x := exchange(ctx, strings.NewReader("hello"))
		if got := body(t, r.handler, x); got != "hello" || time.Since(start) != 0 {
			t.Errorf("answered %q after %v, want at once", got, time.Since(start))
		}
		x.Finish(airside.Outcome{})
		leave()
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("the copy ended by %v after %v, want the deadline after 7s", err, time.Since(start))
		}
		_ = r.close() // always nil
		if got, want := r.log.String(), "level=INFO msg=\"copies of requests\" answered=0 failed=1 left_out=0\n"; got != want {
			t.Errorf("log %q, want %q", got, want)
		}
	})
}

// No more than max copies are under way; the end of the generation ends them and
// waits for them, and none begins afterwards.
func TestBoundAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun, ended := 0, 0
		r := build(t, func(c *Config) { c.Max = 3 }, func(x *airside.Exchange) (*http.Response, error) {
			mu.Lock()
			begun++
			mu.Unlock()
			<-x.Context().Done()
			<-time.After(time.Second) // takes its time to end
			mu.Lock()
			ended++
			mu.Unlock()
			return nil, x.Context().Err()
		})
		for range 10 {
			body(t, r.handler, exchange(t.Context(), strings.NewReader("hello")))
		}
		synctest.Wait()
		if begun != 3 {
			t.Errorf("%d copies are under way, want 3", begun)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
		if ended != 3 {
			t.Errorf("close returned after %d of 3 copies", ended)
		}
		body(t, r.handler, exchange(t.Context(), nil))
		synctest.Wait()
		if begun != 3 {
			t.Error("a copy was made after the end")
		}
		if got, want := r.log.String(), "level=INFO msg=\"copies of requests\" answered=0 failed=3 left_out=7\n"; got != want {
			t.Errorf("log %q, want %q", got, want)
		}
	})
}

// endless is a body without an end. It counts what is read of it.
type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error {
	e.closed = true
	return nil
}

// Whatever a shadow does, the exchange is answered and the copy ends.
func TestBadShadows(t *testing.T) {
	long := &endless{}
	for _, tt := range []struct {
		name string
		to   airside.HandlerFunc
		log  string
	}{
		{"panics", func(*airside.Exchange) (*http.Response, error) { panic("no") }, "level=ERROR msg=panic value=no\nlevel=INFO msg=\"copies of requests\" answered=0 failed=1 left_out=0\n"},
		{"fails", func(*airside.Exchange) (*http.Response, error) { return nil, errors.New("no") }, "level=INFO msg=\"copies of requests\" answered=0 failed=1 left_out=0\n"},
		{"does not end", func(*airside.Exchange) (*http.Response, error) { return &http.Response{Body: long}, nil }, ""},
		{"breaks off", func(*airside.Exchange) (*http.Response, error) {
			return &http.Response{Body: io.NopCloser(iotest.ErrReader(errors.New("no")))}, nil
		}, "level=INFO msg=\"copies of requests\" answered=0 failed=1 left_out=0\n"},
		{"has no body", func(*airside.Exchange) (*http.Response, error) { return &http.Response{}, nil }, ""},
		{"changes its request", func(x *airside.Exchange) (*http.Response, error) {
			x.Request.Header["A"][0], x.Request.URL.Path, x.Caller.Claims["a"] = "changed", "/changed", 2
			x.SetBody([]byte("changed"))
			return &http.Response{}, nil
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan airside.Outcome, 1)
			r := build(t, usual, func(x *airside.Exchange) (*http.Response, error) {
				x.OnDone(func(o airside.Outcome) { done <- o })
				return tt.to(x)
			})
			x := exchange(t.Context(), strings.NewReader("hello"), "A", "kept")
			if got := body(t, r.handler, x); got != "hello" {
				t.Errorf("answered %q, want %q", got, "hello")
			}
			<-done
			_ = r.close() // always nil
			if x.Request.Header.Get("A") != "kept" || x.Request.URL.Path != "/a/b" || x.Caller.Claims["a"] != 1 {
				t.Error("the copy shares something with the request")
			}
			if got := r.log.String(); got != tt.log {
				t.Errorf("log %q, want %q", got, tt.log)
			}
		})
	}
	if !long.closed || long.read < drained || long.read > drained+64<<10 {
		t.Errorf("%d bytes of an endless answer were read, closed %v; want %d, closed", long.read, long.closed, drained)
	}
}

func TestConfig(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := Config{To: "shadow"}
		c.Defaults()
		change(&c)
		return c
	}
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{with(usual), ""},
		{with(func(c *Config) { c.Share = -1 }), "share: must be from 0 to 100"},
		{with(func(c *Config) { c.Max = 0 }), "max: must be from 1 to 100000"},
		{with(func(c *Config) { c.Body = 17 << 20 }), "body: must be at most 16MiB"},
		{with(func(c *Config) { c.Timeout = 0 }), "timeout: must be more than 0s and at most 1h"},
	} {
		got := ""
		if err := tt.c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.c, got, tt.want)
		}
	}
	none := &airside.Env{Upstream: func(string) (airside.Handler, error) { return nil, errors.New("there is none") }}
	_, err := New(none, Config{To: "x"})
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Error() != "to: there is none" {
		t.Errorf("no upstream: %v, want an error of the field to", err)
	}
}

func BenchmarkHandle(b *testing.B) {
	r := build(b, usual, func(*airside.Exchange) (*http.Response, error) { return &http.Response{}, nil })
	x := exchange(b.Context(), nil, "Accept", "text/plain", "User-Agent", "x", "Content-Type", "application/json")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.handler.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
	_ = r.close() // always nil
}
