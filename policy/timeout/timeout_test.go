package timeout

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/airside-gateway/airside"
)

func build(t testing.TB, c Config, next airside.HandlerFunc) airside.Handler {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(&airside.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m(next)
}

func exchange(ctx context.Context, body io.Reader) *airside.Exchange {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://example.test/", body)
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

func finish(x *airside.Exchange) { x.Finish(airside.Outcome{}) }

func answer(status int, contentType string, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: body, ContentLength: -1}
}

// hang waits for the end of the exchange, as an upstream does whose agent hangs.
func hang(x *airside.Exchange) (*http.Response, error) {
	<-x.Context().Done()
	return nil, x.Context().Err()
}

// pieces is a body that comes a byte at a time, each after a pause. It ends early if
// its context does, and, if it is deaf, late.
type pieces struct {
	ctx    context.Context
	n      int
	pause  time.Duration
	deaf   bool
	closed bool
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.n == 0 {
		return 0, io.EOF
	}
	done := p.ctx.Done()
	if p.deaf {
		done = nil
	}
	select {
	case <-time.After(p.pause):
	case <-done:
		return 0, p.ctx.Err()
	}
	p.n--
	b[0] = 'x'
	return 1, nil
}

func (p *pieces) Close() error {
	p.closed = true
	return nil
}

// A result is how an exchange went.
type result struct {
	Code airside.Code // of the error, or of that of the body
	Body string
	At   time.Duration // when it was over
}

// run answers one exchange and reads the answer as the edge does.
func run(x *airside.Exchange, h airside.Handler) (result, error) {
	start := time.Now()
	resp, err := h.Handle(x)
	var r result
	if err == nil {
		var b []byte
		b, err = io.ReadAll(resp.Body)
		r.Body = string(b)
		_ = resp.Body.Close() // noted by pieces
	}
	if err != nil {
		r.Code = airside.AsError(err).Code
	}
	r.At = time.Since(start)
	finish(x)
	return r, err
}

// When the time is over, for agents that behave in all the ways there are.
func TestTimes(t *testing.T) {
	const plain, events = "text/plain", "text/event-stream; charset=utf-8"
	s := time.Second
	slow := func(head time.Duration, status int, contentType string, n int, pause time.Duration, deaf bool) airside.HandlerFunc {
		return func(x *airside.Exchange) (*http.Response, error) {
			<-time.After(head)
			return answer(status, contentType, &pieces{ctx: x.Context(), n: n, pause: pause, deaf: deaf}), nil
		}
	}
	for _, tt := range []struct {
		name  string
		c     Config
		agent airside.HandlerFunc
		want  result
	}{
		{"hangs", Config{Total: 5 * s}, hang, result{airside.Timeout, "", 5 * s}},
		{"hangs, head only", Config{Head: 5 * s}, hang, result{airside.Timeout, "", 5 * s}},
		{"hangs, both", Config{Head: 2 * s, Total: 5 * s}, hang, result{airside.Timeout, "", 2 * s}},
		{"in time", Config{Total: 5 * s}, slow(s, 200, plain, 3, s, false), result{"", "xxx", 4 * s}},
		{"late, and does not listen", Config{Total: 5 * s}, slow(6*s, 200, plain, 3, s, false), result{airside.Timeout, "", 6 * s}},
		{"late body", Config{Total: 5 * s}, slow(1500*time.Millisecond, 200, plain, 9, s, false), result{airside.Timeout, "xxx", 5 * s}},
		{"late body, and does not listen", Config{Total: 5 * s}, slow(1500*time.Millisecond, 200, plain, 9, s, true), result{airside.Timeout, "xxxx", 5500 * time.Millisecond}},
		{"late body, both", Config{Head: 2 * s, Total: 5 * s}, slow(1500*time.Millisecond, 200, plain, 9, s, false), result{airside.Timeout, "xxx", 5 * s}},
		{"late body, head only", Config{Head: 2 * s}, slow(s, 200, plain, 9, s, false), result{"", "xxxxxxxxx", 10 * s}},
		{"events", Config{Total: 5 * s}, slow(s, 200, events, 9, s, false), result{"", "xxxxxxxxx", 10 * s}},
		{"events, late head", Config{Total: 5 * s}, slow(6*s, 200, events, 9, s, false), result{airside.Timeout, "", 6 * s}},
		{"upgraded", Config{Total: 5 * s}, slow(s, 101, "", 9, s, false), result{"", "xxxxxxxxx", 10 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := run(exchange(t.Context(), nil), build(t, tt.c, tt.agent))
				if got != tt.want {
					t.Errorf("got %+v (%v), want %+v", got, err, tt.want)
				}
			})
		})
	}
}

// What an upstream sees of the bound: the deadline ahead, and the reason afterwards,
// also in contexts that it makes for its tries.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ctxs []context.Context
		h := build(t, Config{Total: 5 * time.Second}, func(x *airside.Exchange) (*http.Response, error) {
			deadline, ok := x.Context().Deadline()
			if !ok || time.Until(deadline) != 5*time.Second {
				t.Errorf("deadline in %v (%v), want in 5s", time.Until(deadline), ok)
			}
			try, cancel := context.WithTimeout(x.Context(), time.Hour)
			defer cancel()
			plain, cancelPlain := context.WithCancel(x.Context())
			defer cancelPlain()
			ctxs = []context.Context{x.Context(), try, plain}
			if deadline, _ := try.Deadline(); time.Until(deadline) != 5*time.Second {
				t.Errorf("deadline of a try in %v, want in 5s", time.Until(deadline))
			}
			for _, ctx := range ctxs {
				<-ctx.Done()
				if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
					t.Errorf("%v: Err is %v, want %v", ctx, ctx.Err(), context.DeadlineExceeded)
				}
				e, ok := errors.AsType[*airside.Error](context.Cause(ctx))
				if !ok || e.Code != airside.Timeout || e.Message != "the agent did not answer within 5s" {
					t.Errorf("cause %v, want what the client is told", context.Cause(ctx))
				}
			}
			return nil, context.Cause(plain)
		})
		x := exchange(t.Context(), nil)
		_, err := h.Handle(x)
		if e := airside.AsError(err); e.Code != airside.Timeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %s because of the deadline", err, airside.Timeout)
		}
		if x.Context().Err() != nil {
			t.Error("the exchange is left with a context that has ended")
		}
		finish(x)
	})
}

// An earlier deadline of the client's stays, and an event stream has none but that.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for _, tt := range []struct {
			ctx         context.Context
			head, after time.Duration // 0 is none
		}{{t.Context(), 5 * time.Second, 0}, {ctx, 3 * time.Second, 3 * time.Second}} {
			var seen context.Context
			until := func() time.Duration {
				if deadline, ok := seen.Deadline(); ok {
					return time.Until(deadline)
				}
				return 0
			}
			h := build(t, Config{Total: 5 * time.Second}, func(x *airside.Exchange) (*http.Response, error) {
				seen = x.Context() //nolint:fatcontext // kept for the test to look at
				if got := until(); got != tt.head {
					t.Errorf("before the head: deadline in %v, want %v", got, tt.head)
				}
				return answer(200, "text/event-stream", &pieces{ctx: seen}), nil
			})
			x := exchange(tt.ctx, nil)
			if _, err := h.Handle(x); err != nil {
				t.Fatal(err)
			}
			if got := until(); got != tt.after {
				t.Errorf("after the head: deadline in %v, want %v", got, tt.after)
			}
			if seen.Err() != nil {
				t.Error("the stream has no context")
			}
			finish(x)
			if seen.Err() == nil {
				t.Error("the context is not released at the end")
			}
		}
	})
}

// A client that leaves is no time-out, before the head and after it.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, agent := range []airside.HandlerFunc{
			hang,
			func(x *airside.Exchange) (*http.Response, error) {
				return answer(200, "text/plain", &pieces{ctx: x.Context(), n: 9, pause: time.Second}), nil
			},
			func(x *airside.Exchange) (*http.Response, error) {
				return answer(200, "text/event-stream", &pieces{ctx: x.Context(), n: 9, pause: time.Second}), nil
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(2500*time.Millisecond, cancel)
			got, err := run(exchange(ctx, nil), build(t, Config{Total: 5 * time.Second}, agent))
			if got.Code != airside.Canceled || got.At != 2500*time.Millisecond {
				t.Errorf("got %+v (%v), want %s after 2.5s", got, err, airside.Canceled)
			}
		}
	})
}

// A request body that does not come is the client's fault; one that the agent does
// not take is the agent's.
func TestUpload(t *testing.T) {
	reads := func(x *airside.Exchange) (*http.Response, error) {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.Copy(io.Discard, x.Request.Body) // ends with the pipe
		}()
		<-x.Context().Done()
		return nil, x.Context().Err()
	}
	for _, tt := range []struct {
		name  string
		agent airside.HandlerFunc
		code  airside.Code
		text  string
	}{
		{"client is slow", reads, airside.RequestTimeout, "the request did not arrive within 5s"},
		{"agent is slow", hang, airside.Timeout, "the agent did not answer within 5s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				defer func() { _ = w.Close() }()
				_, err := build(t, Config{Total: 5 * time.Second}, tt.agent).Handle(exchange(t.Context(), r))
				if e := airside.AsError(err); e.Code != tt.code || e.Message != tt.text {
					t.Errorf("got %v, want %s: %s", err, tt.code, tt.text)
				}
			})
		})
	}
}

// A request body that has arrived is not what is waited for.
func TestUploadDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := build(t, Config{Total: 5 * time.Second}, func(x *airside.Exchange) (*http.Response, error) {
			if b, err := io.ReadAll(x.Request.Body); err != nil || string(b) != "hello" {
				t.Errorf("the agent read %q, %v", b, err)
			}
			return hang(x)
		}).Handle(exchange(t.Context(), strings.NewReader("hello")))
		if e := airside.AsError(err); e.Code != airside.Timeout {
			t.Errorf("got %v, want %s", err, airside.Timeout)
		}
	})
}

// Each try of a retry further out has the whole time, and the body again.
func TestRetryOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Config{Total: 5 * time.Second}, func(x *airside.Exchange) (*http.Response, error) {
			if b, err := io.ReadAll(x.Request.Body); err != nil || string(b) != "hello" {
				t.Errorf("the agent read %q, %v", b, err)
			}
			return hang(x)
		})
		x := exchange(t.Context(), strings.NewReader("hello"))
		x.KeepBody(100)
		for range 3 {
			start := time.Now()
			if _, err := h.Handle(x); airside.AsError(err).Code != airside.Timeout || time.Since(start) != 5*time.Second {
				t.Fatalf("%v after %v, want a time-out after 5s", err, time.Since(start))
			}
			if !x.Rewind() {
				t.Fatal("the body cannot be sent again")
			}
		}
		finish(x)
	})
}

// The outer of two policies is told apart from the inner one.
func TestTwo(t *testing.T) {
	for _, tt := range []struct{ outer, inner, want time.Duration }{
		{2 * time.Second, 5 * time.Second, 2 * time.Second},
		{5 * time.Second, 2 * time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			inner := build(t, Config{Total: tt.inner}, hang)
			outer := build(t, Config{Total: tt.outer}, inner.Handle)
			got, err := run(exchange(t.Context(), nil), outer)
			if got.Code != airside.Timeout || got.At != tt.want || airside.AsError(err).Message != "the agent did not answer within "+tt.want.String() {
				t.Errorf("got %+v, %v; want a time-out of %v", got, err, tt.want)
			}
		})
	}
}

// An upgraded connection has to be written to: its body stays what it was. An
// answer without a body is over at once.
func TestBodiesThatAreLeft(t *testing.T) {
	for _, tt := range []struct {
		status   int
		body     io.ReadCloser
		released bool
	}{{101, &pieces{}, false}, {204, http.NoBody, true}, {204, nil, true}} {
		var seen context.Context
		x := exchange(t.Context(), nil)
		resp, err := build(t, Config{Total: time.Hour}, func(x *airside.Exchange) (*http.Response, error) {
			seen = x.Context() //nolint:fatcontext // kept for the test to look at
			return answer(tt.status, "", tt.body), nil
		}).Handle(x)
		if err != nil || resp.Body != tt.body {
			t.Errorf("%d: got %v, %v; want the body as it was", tt.status, resp.Body, err)
		}
		if got := seen.Err() != nil; got != tt.released {
			t.Errorf("%d: released %v, want %v", tt.status, got, tt.released)
		}
		finish(x)
		if seen.Err() == nil {
			t.Errorf("%d: not released at the end", tt.status)
		}
	}
}

// An answer that is closed early, or comes too late, is closed on the agent's side.
func TestCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, head := range []time.Duration{time.Second, 9 * time.Second} {
			b := &pieces{n: 9, pause: time.Second}
			x := exchange(t.Context(), nil)
			resp, err := build(t, Config{Total: 5 * time.Second}, func(x *airside.Exchange) (*http.Response, error) {
				<-time.After(head)
				b.ctx = x.Context()
				return answer(200, "text/plain", b), nil
			}).Handle(x)
			if err == nil {
				err = resp.Body.Close()
			}
			if !b.closed || b.ctx.Err() == nil {
				t.Errorf("head after %v (%v): closed %v, context %v", head, err, b.closed, b.ctx.Err())
			}
		}
	})
}

func TestErrorsPass(t *testing.T) {
	want := airside.Errorf(airside.UpstreamFailed, "no")
	_, err := build(t, Config{Total: time.Hour}, func(*airside.Exchange) (*http.Response, error) { return nil, want }).Handle(exchange(t.Context(), nil))
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	if err := c.UnmarshalText([]byte("1m30s")); err != nil || c != (Config{Total: 90 * time.Second}) {
		t.Errorf("1m30s: got %+v, %v", c, err)
	}
	if err := c.UnmarshalText([]byte("soon")); err == nil || err.Error() != `"soon" is not a duration such as 300ms or 20s` {
		t.Errorf("soon: got %v", err)
	}
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{Config{}, "timeout needs a time, such as timeout: 5s, that is more than 0"},
		{Config{Total: -1}, "total: must be more than 0"},
		{Config{Head: -1}, "head: must be more than 0"},
		{Config{Head: 2 * time.Second, Total: time.Second}, "head: must be at most total, 1s"},
		{Config{Head: time.Second}, ""},
	} {
		got := ""
		if err := tt.c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.c, got, tt.want)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	body := io.NopCloser(strings.NewReader(""))
	h := build(b, Config{Total: time.Minute}, func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body}, nil
	})
	r := exchange(b.Context(), nil).Request
	b.ReportAllocs()
	for b.Loop() {
		x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
		resp, err := h.Handle(x)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close() // does nothing
		finish(x)
	}
}
