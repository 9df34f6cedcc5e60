package airside_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/airside-gateway/airside"
)

func exchange(body io.Reader) *airside.Exchange {
	return airside.NewExchange(httptest.NewRequest("POST", "/", body), slog.New(slog.DiscardHandler))
}

func read(t *testing.T, x *airside.Exchange) string {
	t.Helper()
	b, err := io.ReadAll(x.Request.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	return string(b)
}

// unknown hides the length of a reader.
func unknown(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }

func TestReadBody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		body  io.Reader
		limit int64
		want  string
		code  airside.Code
	}{
		{"of known length", strings.NewReader("hello"), 5, "hello", ""},
		{"of unknown length", unknown("hello"), 5, "hello", ""},
		{"too large by its length", strings.NewReader("hello"), 4, "", airside.TooLarge},
		{"too large as it comes", unknown("hello"), 4, "", airside.TooLarge},
		{"none", http.NoBody, 4, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := exchange(tt.body)
			b, err := x.ReadBody(tt.limit)
			if tt.code != "" {
				if got := airside.AsError(err).Code; err == nil || got != tt.code {
					t.Errorf("got %v, want %s", err, tt.code)
				}
				return
			}
			if err != nil || string(b) != tt.want {
				t.Fatalf("got %q, %v, want %q", b, err, tt.want)
			}
			if again, err := x.ReadBody(tt.limit); err != nil || string(again) != tt.want {
				t.Errorf("the second time: got %q, %v", again, err)
			}
			if got := read(t, x); got != tt.want || x.Request.ContentLength != int64(len(tt.want)) {
				t.Errorf("the body is %q of length %d", got, x.Request.ContentLength)
			}
		})
	}
}

func TestRewind(t *testing.T) {
	const text = "hello, clinic"
	for _, tt := range []struct {
		name string
		keep int
		read int // bytes read before
		want bool
	}{
		{"nothing read, nothing kept", 0, 0, true},
		{"something read, nothing kept", 0, 1, false},
		{"something read, enough kept", 100, 5, true},
		{"all read, enough kept", 100, len(text), true},
		{"more read than kept", 5, 6, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := exchange(unknown(text))
			x.KeepBody(tt.keep)
			first := x.Request.Body
			if _, err := io.ReadFull(first, make([]byte, tt.read)); err != nil {
				t.Fatal(err)
			}
			if got := x.Rewind(); got != tt.want {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if !tt.want {
				return
			}
			if tt.read > 0 {
				if _, err := first.Read(make([]byte, 1)); err == nil {
					t.Error("the earlier try can still read")
				}
			}
			if got := read(t, x); got != text {
				t.Errorf("got %q, want %q", got, text)
			}
		})
	}
}

// A reader of an earlier try that is still waiting for the client loses nothing
// for the next one.
func TestRewindUnderAReader(t *testing.T) {
	pr, pw := io.Pipe()
	x := exchange(pr)
	x.KeepBody(100)
	first := x.Request.Body
	var wg sync.WaitGroup
	waiting := make(chan struct{})
	wg.Go(func() {
		close(waiting)
		_, _ = first.Read(make([]byte, 10)) // whatever it gets, the next try gets too
	})
	<-waiting
	if !x.Rewind() {
		t.Fatal("cannot rewind")
	}
	wg.Go(func() {
		_, _ = io.WriteString(pw, "hello")
		_ = pw.Close()
	})
	if got := read(t, x); got != "hello" {
		t.Errorf("got %q", got)
	}
	wg.Wait()
}

func TestLimitBody(t *testing.T) {
	x := exchange(unknown("hello"))
	x.LimitBody(4)
	_, err := io.ReadAll(x.Request.Body)
	if got := airside.AsError(err).Code; got != airside.TooLarge {
		t.Errorf("got %v", err)
	}
	if got := airside.AsError(x.BodyErr()).Code; got != airside.TooLarge {
		t.Errorf("BodyErr: got %v", x.BodyErr())
	}
	x = exchange(strings.NewReader("hello"))
	x.LimitBody(4)
	if err := x.CheckBody(); err == nil {
		t.Error("CheckBody let it pass")
	}
	x.LimitBody(airside.NoLimit)
	if err := x.CheckBody(); err != nil || read(t, x) != "hello" {
		t.Errorf("without a limit: %v", err)
	}
}

func TestSetBody(t *testing.T) {
	x := exchange(unknown("hello"))
	x.SetBody([]byte("good day"))
	for range 2 {
		if got := read(t, x); got != "good day" || x.Request.ContentLength != 8 || x.Request.Header.Get("Content-Length") != "8" {
			t.Errorf("got %q of length %d", got, x.Request.ContentLength)
		}
		if !x.Rewind() {
			t.Fatal("cannot rewind")
		}
	}
}

// A retry in front of a policy that changes the request finds it as it was.
func TestSave(t *testing.T) {
	x := exchange(unknown("hello"))
	x.KeepBody(100)
	restore := x.Save()
	for range 2 {
		b, err := x.ReadBody(100)
		if err != nil || string(b) != "hello" {
			t.Fatalf("got %q, %v", b, err)
		}
		x.SetBody(append([]byte("changed "), b...))
		x.Request.Method = "PUT"
		if !restore() {
			t.Fatal("cannot restore")
		}
		if x.Request.Method != "POST" {
			t.Errorf("the method is %s", x.Request.Method)
		}
	}
	if got := read(t, x); got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := airside.Secret("canary")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).LogAttrs(context.Background(), slog.LevelInfo, "m", slog.Any("s", s))
	j, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(s), fmt.Sprintf("%s %q %v %+v %#v %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%v", struct{ S airside.Secret }{s}),
		fmt.Sprintf("%+v", []airside.Secret{s}), log.String(), string(j),
	} {
		if strings.Contains(got, "canary") || strings.Contains(got, "63616e617279") {
			t.Errorf("printed: %s", got)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]airside.Size{"512": 512, "64KiB": 64 << 10, "10 MiB": 10 << 20, "1GB": 1e9, "3B": 3, "0": 0} {
		var s airside.Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%q: got %d, %v, want %d", in, s, err, want)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1.5MiB", "1kib", "99999999TiB", "1 2"} {
		var s airside.Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was taken for %d", in, s)
		}
	}
	if got := airside.Size(65536).String(); got != "64KiB" {
		t.Errorf("got %s", got)
	}
}

func TestAsError(t *testing.T) {
	own := airside.Errorf(airside.Denied, "no")
	for _, tt := range []struct {
		err  error
		want airside.Code
	}{
		{own, airside.Denied},
		{fmt.Errorf("wrapped: %w", own), airside.Denied},
		{context.DeadlineExceeded, airside.Timeout},
		{fmt.Errorf("wrapped: %w", context.Canceled), airside.Canceled},
		{errors.New("a bug"), airside.Internal},
	} {
		if got := airside.AsError(tt.err); got.Code != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got.Code, tt.want)
		}
	}
	if got := airside.AsError(errors.New("the inside")).Message; got != "" {
		t.Errorf("the client would be told %q", got)
	}
}

// TestErrorSaysItOnce proves that the text of an error has its cause, but no message twice.
func TestErrorSaysItOnce(t *testing.T) {
	for _, tt := range []struct {
		e    *airside.Error
		want string
	}{
		{&airside.Error{Code: airside.Unavailable}, "unavailable"},
		{airside.Errorf(airside.Unavailable, "busy"), "unavailable: busy"},
		{airside.Errorf(airside.Unavailable, "busy").Because(errors.New("no room")), "unavailable: busy: no room"},
		{airside.Errorf(airside.Unavailable, "busy").Because(errors.New("busy")), "unavailable: busy"},
		{&airside.Error{Code: airside.Unavailable, Err: errors.New("no room")}, "unavailable: no room"},
	} {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestOrder(t *testing.T) {
	var order []string
	mark := func(s string) airside.Middleware {
		return func(next airside.Handler) airside.Handler {
			return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				order = append(order, s)
				x.OnDone(func(airside.Outcome) { order = append(order, "done "+s) })
				return next.Handle(x)
			})
		}
	}
	end := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, errors.New("end") })
	x := exchange(nil)
	_, err := airside.Chain(end, mark("a"), mark("b")).Handle(x)
	x.Finish(airside.Outcome{Err: err})
	x.Finish(airside.Outcome{})
	if got, want := strings.Join(order, " "), "a b done b done a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A listened context counts who wants to hear of its end.
type listened struct {
	context.Context
	done  chan struct{}
	times int
}

func (c *listened) Done() <-chan struct{} { return c.done }

func (c *listened) AfterFunc(func()) (stop func() bool) {
	c.times++
	return func() bool { return true }
}

// A source says how much of it has come, and can be woken.
type source struct {
	*strings.Reader
	come bool
}

func (s source) Buffered() int {
	if s.come {
		return s.Len()
	}
	return 0
}

func (source) Close() error { return nil }
func (source) Wake()        {}

// TestReadBodyThatHasCome proves that reading a body that is there asks nothing of the
// context: what would be told of its end might be told of it after the exchange.
func TestReadBodyThatHasCome(t *testing.T) {
	for _, tt := range []struct {
		come  bool
		after int // bytes that were read before
		want  int
	}{{true, 0, 0}, {true, 2, 0}, {false, 0, 1}} {
		ctx := &listened{Context: t.Context(), done: make(chan struct{})}
		r := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
		r.Body, r.ContentLength = source{strings.NewReader("body"), tt.come}, 4
		x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
		x.KeepBody(4)
		if _, err := io.ReadFull(x.Request.Body, make([]byte, tt.after)); err != nil {
			t.Fatal(err)
		}
		b, err := x.ReadBody(4)
		if err != nil || string(b) != "body" || ctx.times != tt.want {
			t.Errorf("come: %t, after %d: got %q, %v, and %d who listen, want %d", tt.come, tt.after, b, err, ctx.times, tt.want)
		}
	}
}

type lent func()

func (f lent) Release() { f() }

// TestAfterDone proves that what was lent to an exchange is released once, after the
// functions of its end, and that all of that happens even if one of them panics.
func TestAfterDone(t *testing.T) {
	for _, panics := range []bool{false, true} {
		var order []string
		x := exchange(nil)
		for _, s := range []string{"a", "b", "c"} {
			x.AfterDone(lent(func() { order = append(order, s) }))
		}
		x.OnDone(func(airside.Outcome) { order = append(order, "first") })
		x.OnDone(func(airside.Outcome) {
			order = append(order, "last")
			if panics {
				panic("at the end")
			}
		})
		func() {
			defer func() {
				if p := recover(); (p != nil) != panics {
					t.Errorf("got the panic %v", p)
				}
			}()
			x.Finish(airside.Outcome{})
		}()
		x.Finish(airside.Outcome{})
		if got, want := strings.Join(order, " "), "last first a b c"; got != want {
			t.Errorf("with a panic, %t: got %q, want %q", panics, got, want)
		}
	}
}

func TestRegistry(t *testing.T) {
	build := func(*airside.Env, struct{}) (airside.Middleware, error) { return nil, nil }
	airside.RegisterPolicy("of-this-test", build)
	if _, ok := airside.PolicyKind("of-this-test"); !ok {
		t.Error("not registered")
	}
	defer func() {
		if recover() == nil {
			t.Error("a second policy of that name was registered")
		}
	}()
	airside.RegisterPolicy("of-this-test", build)
}

// TestFailed proves which ends of an exchange are failures that are not its client's.
func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		o    airside.Outcome
		want bool
	}{
		{airside.Outcome{Status: 200}, false},
		{airside.Outcome{Status: 404, Err: airside.Errorf(airside.NotFound, "x")}, false},
		{airside.Outcome{Status: 503}, true},
		{airside.Outcome{Status: 200, Err: errors.New("broken")}, true},
		{airside.Outcome{Status: 404, Err: airside.Errorf(airside.UpstreamFailed, "x")}, true},
		{airside.Outcome{Status: 200, Err: context.Canceled}, false},
		{airside.Outcome{Status: 200, Err: airside.Errorf(airside.Invalid, "x")}, false},
		{airside.Outcome{}, false},
	} {
		if got := tt.o.Failed(); got != tt.want {
			t.Errorf("%+v: got %t", tt.o, got)
		}
	}
}
