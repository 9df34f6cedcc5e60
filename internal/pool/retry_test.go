package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func retry(change ...func(*Retry)) *Retry {
	r := &Retry{}
	r.Defaults()
	for _, c := range change {
		c(r)
	}
	return r
}

// half is the middle of every range of random numbers.
func half() float64 { return 0.5 }

// answers is a handler that gives one answer after the other, and the last for ever.
type answers struct {
	list []any // an int is a status; a http.Header, that of a 503; an error
	n    int
	at   []time.Duration // when it was asked, since the first time
	from time.Time
	each func(x *airside.Exchange)
}

func (a *answers) Handle(x *airside.Exchange) (*http.Response, error) {
	if a.n == 0 {
		a.from = time.Now()
	}
	a.at = append(a.at, time.Since(a.from))
	if a.each != nil {
		a.each(x)
	}
	next := a.list[min(a.n, len(a.list)-1)]
	a.n++
	switch next := next.(type) {
	case error:
		return nil, next
	case http.Header:
		return &http.Response{StatusCode: 503, Header: next, Body: http.NoBody}, nil
	case int:
		return &http.Response{StatusCode: next, Header: http.Header{}, Body: http.NoBody}, nil
	}
	panic(fmt.Sprintf("%T", next))
}

func fails(k kind, sent bool) error { return (&failure{kind: k, sent: sent}).phrase() }

// TestRetry is the table of what is sent again, how often, and when.
func TestRetry(t *testing.T) {
	ms := func(ns ...int) []time.Duration {
		var out []time.Duration
		for _, n := range ns {
			out = append(out, time.Duration(n)*time.Microsecond*100)
		}
		return out
	}
	after := func(s string) http.Header { return http.Header{"Retry-After": {s}} }
	only := func(on ...Reason) *Retry { return retry(func(r *Retry) { r.On = on }) }
	tests := []struct {
		name   string
		retry  *Retry
		method string
		header http.Header
		list   []any
		at     []time.Duration // in tenths of milliseconds
		status int             // in the end; 0: an error
	}{
		{"good", retry(), "GET", nil, []any{200}, ms(0), 200},
		{"doubling", retry(func(r *Retry) { r.Attempts = 5 }), "GET", nil, []any{503, 502, 504, 503, 503}, ms(0, 125, 375, 875, 1875), 503},
		{"at most", retry(func(r *Retry) { r.Attempts, r.MaxBackoff = 5, 30*time.Millisecond }), "GET", nil, []any{503}, ms(0, 125, 275, 425, 575), 503},
		{"recovers", retry(), "GET", nil, []any{503, 200}, ms(0, 125), 200},
		{"attempts", retry(), "GET", nil, []any{503}, ms(0, 125, 375), 503},
		{"one attempt", retry(func(r *Retry) { r.Attempts = 1 }), "GET", nil, []any{503}, ms(0), 503},
		{"not listed", retry(), "GET", nil, []any{500}, ms(0), 500},
		{"listed", only(On500), "GET", nil, []any{500, 503}, ms(0, 125), 503},
		{"a class", only(On5xx), "GET", nil, []any{500, 599, 429}, ms(0, 125, 375), 429},
		{"post", retry(), "POST", nil, []any{503}, ms(0), 503},
		{"patch", retry(), "PATCH", nil, []any{fails(broke, true)}, ms(0), 0},
		{"post with a key", retry(), "POST", http.Header{"Idempotency-Key": {"k"}}, []any{503, fails(broke, true), 200}, ms(0, 125, 375), 200},
		{"post, nothing sent", retry(), "POST", nil, []any{fails(refused, false), fails(noName, false), 200}, ms(0, 125, 375), 200},
		{"post, repeat any", retry(func(r *Retry) { r.Repeat = RepeatAny }), "POST", nil, []any{503, fails(broke, true), 200}, ms(0, 125, 375), 200},
		{"post, repeat any, not listed", retry(func(r *Retry) { r.Repeat = RepeatAny }), "POST", nil, []any{500}, ms(0), 500},
		{"post, perhaps sent", retry(), "POST", nil, []any{fails(broke, true)}, ms(0), 0},
		{"reset", retry(), "PUT", nil, []any{fails(broke, true), 200}, ms(0, 125), 200},
		{"malformed", retry(), "GET", nil, []any{fails(malformed, true)}, ms(0), 0},
		{"full", retry(), "GET", nil, []any{fails(full, false)}, ms(0), 0},
		{"timeout", retry(), "GET", nil, []any{fails(firstByteTimeout, true)}, ms(0), 0},
		{"timeout listed", only(OnTimeout), "GET", nil, []any{fails(firstByteTimeout, true), 200}, ms(0, 125), 200},
		{"total", only(OnTimeout), "GET", nil, []any{fails(totalTimeout, true)}, ms(0), 0},
		{"from elsewhere", retry(), "GET", nil, []any{airside.Errorf(airside.UpstreamFailed, ""), 200}, ms(0, 125), 200},
		{"from elsewhere, late", only(OnTimeout), "GET", nil, []any{airside.Errorf(airside.Timeout, ""), 200}, ms(0, 125), 200},
		{"as late as the client said", only(OnTimeout), "GET", nil, []any{airside.Errorf(airside.Timeout, "").Because(errAsked)}, ms(0), 0},
		{"the client's fault", retry(), "GET", nil, []any{airside.Errorf(airside.TooLarge, "")}, ms(0), 0},
		{"ours", retry(), "GET", nil, []any{errors.New("a bug")}, ms(0), 0},
		{"asked to wait", retry(), "GET", nil, []any{after("2"), 200}, ms(0, 20000), 200},
		{"asked for too long", retry(), "GET", nil, []any{after("6")}, ms(0), 503},
		{"asked until a date", retry(), "GET", nil, []any{after("Sat, 01 Jan 2000 00:00:03 GMT"), 200}, ms(0, 30000), 200},
		{"asked until a past date", retry(), "GET", nil, []any{after("Fri, 31 Dec 1999 00:00:00 GMT"), 200}, ms(0, 125), 200},
		{"asked for nonsense", retry(), "GET", nil, []any{after("soon"), 200}, ms(0, 125), 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{list: tt.list}
				x := exchange(t, tt.method, "/", nil)
				maps.Copy(x.Request.Header, tt.header)
				resp, err := tt.retry.Middleware(half)(a).Handle(x)
				if diff := cmp.Diff(tt.at, a.at); diff != "" {
					t.Errorf("asked at (-want +got)\n%s", diff)
				}
				switch {
				case tt.status == 0 && err == nil:
					t.Errorf("got %d, want an error", resp.StatusCode)
				case tt.status != 0 && (err != nil || resp.StatusCode != tt.status):
					t.Errorf("got %v, %v, want %d", resp, err, tt.status)
				}
			})
		})
	}
}

// TestRetryBody proves that the request body is sent again from its beginning, if it was
// kept, and that a longer one is not sent again once it was read.
func TestRetryBody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		size  int
		tries int
	}{{"kept", 64 << 10, 3}, {"too long", 64<<10 + 1, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want := strings.Repeat("x", tt.size)
				a := &answers{list: []any{503}, each: func(x *airside.Exchange) {
					b, err := io.ReadAll(x.Request.Body)
					if err != nil || string(b) != want {
						t.Errorf("got %d bytes, %v, want %d", len(b), err, tt.size)
					}
				}}
				if _, err := retry().Middleware(half)(a).Handle(exchange(t, "PUT", "/", strings.NewReader(want))); err != nil {
					t.Fatal(err)
				}
				if a.n != tt.tries {
					t.Errorf("got %d tries, want %d", a.n, tt.tries)
				}
			})
		})
	}
}

// TestRetryContext proves that there is no retry for a client that has left, none for
// which the deadline leaves no time, and that a pause ends with the client.
func TestRetryContext(t *testing.T) {
	tests := []struct {
		name   string
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		header http.Header
		tries  int
		took   time.Duration
		code   airside.Code // or the answer
	}{
		{"no time", func(c context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(c, 999*time.Millisecond)
		}, http.Header{"Retry-After": {"1"}}, 1, 0, ""},
		{"gone", func(c context.Context) (context.Context, context.CancelFunc) {
			c, cancel := context.WithCancel(c)
			cancel()
			return c, cancel
		}, http.Header{}, 1, 0, ""},
		{"goes", func(c context.Context) (context.Context, context.CancelFunc) {
			c, cancel := context.WithCancel(c)
			time.AfterFunc(300*time.Millisecond, cancel)
			return c, cancel
		}, http.Header{"Retry-After": {"1"}}, 1, 300 * time.Millisecond, airside.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := exchange(t, "GET", "/", nil)
				ctx, cancel := tt.ctx(x.Context())
				defer cancel()
				x.Request = x.Request.WithContext(ctx)
				a := &answers{list: []any{tt.header}}
				begin := time.Now()
				_, err := retry().Middleware(half)(a).Handle(x)
				if took := time.Since(begin); a.n != tt.tries || took != tt.took {
					t.Errorf("got %d tries in %s, want %d in %s", a.n, took, tt.tries, tt.took)
				}
				if tt.code != "" {
					wantCode(t, err, tt.code)
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRetryRestores proves that every try begins with the request of the first, whatever
// the handler put in its place.
func TestRetryRestores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{list: []any{503}, each: func(x *airside.Exchange) {
			if x.Request.Header.Get("X-Seen") != "" || x.Context().Err() != nil {
				t.Error("a try began with what the last one left")
			}
			b, err := io.ReadAll(x.Request.Body)
			if err != nil || string(b) != "body" {
				t.Errorf("got %q, %v", b, err)
			}
			ctx, cancel := context.WithCancel(x.Context())
			x.Request = x.Request.Clone(ctx)
			x.Request.Header.Set("X-Seen", "1")
			cancel()
		}}
		x := exchange(t, "PUT", "/", strings.NewReader("body"))
		if _, err := retry().Middleware(half)(a).Handle(x); err != nil {
			t.Fatal(err)
		}
		if a.n != 3 {
			// the context that a try left behind must not be taken for the client's
			t.Errorf("got %d tries, want 3", a.n)
		}
	})
}

// TestBudget proves the bound of retries: ten a second, or the share, over ten seconds.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(0.2, budgetFloor)
		take := func() (n int) {
			for b.take() {
				n++
			}
			return n
		}
		if got := take(); got != 100 {
			t.Errorf("without requests: got %d retries, want 100", got)
		}
		for range 1000 {
			b.request()
		}
		if got := take(); got != 100 {
			t.Errorf("1000 requests: got %d more retries, want 100", got)
		}
		b.giveBack()
		if got := take(); got != 1 {
			t.Errorf("given back: got %d more retries, want 1", got)
		}
		<-time.After(9 * time.Second)
		if got := take(); got != 0 {
			t.Errorf("9 s later: got %d retries, want 0", got)
		}
		<-time.After(time.Second)
		if got := take(); got != 100 {
			t.Errorf("10 s later: got %d retries, want 100", got)
		}
		<-time.After(time.Hour)
		for range 2000 {
			b.request()
		}
		if got := take(); got != 400 {
			t.Errorf("an hour later, 2000 requests: got %d retries, want 400", got)
		}
	})
}

// TestRetryBudget proves that the exchanges of one middleware share its budget, and that
// the answer is passed on when it is used up.
func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := retry(func(r *Retry) { r.Budget, r.Attempts, r.Backoff, r.MaxBackoff = 0, 2, 0, 0 }).Middleware(half)
		a := &answers{list: []any{503}}
		for range 150 {
			resp, err := m(a).Handle(exchange(t, "GET", "/", nil))
			if err != nil || resp.StatusCode != 503 {
				t.Fatalf("got %v, %v", resp, err)
			}
		}
		if want := 150 + 100; a.n != want {
			t.Errorf("got %d tries, want %d", a.n, want)
		}
	})
}

// TestRetrySettings proves which settings are refused, and that the defaults are good.
func TestRetrySettings(t *testing.T) {
	if err := retry().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := Retry{Attempts: 11, Backoff: -1, MaxBackoff: -2, MaxWait: -1, Budget: 1.5, Repeat: "twice", Body: 17 << 20}
	var fields []string
	for e := range strings.Lines(bad.Validate().Error()) {
		field, _, _ := strings.Cut(e, ":")
		fields = append(fields, field)
	}
	want := []string{"attempts", "backoff", "max_backoff", "max_wait", "budget", "repeat", "body"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var r Reason
	if err := r.UnmarshalText([]byte("503")); err != nil || r != On503 {
		t.Errorf("got %q, %v", r, err)
	}
	if err := r.UnmarshalText([]byte("418")); err == nil {
		t.Error("418 was taken for a reason")
	}
}

// TestRetryElsewhere proves that the next try goes to an endpoint that was not asked yet,
// and that the body arrives there whole.
func TestRetryElsewhere(t *testing.T) {
	var broken, good atomic.Int64
	bad := func(c *net.TCPConn) {
		broken.Add(1)
		_ = head(c)
		reset(c)
	}
	fine := func(w http.ResponseWriter, r *http.Request) {
		good.Add(1)
		_, _ = io.Copy(w, r.Body)
	}
	var s Settings
	for _, a := range []string{raw(t, bad), nobody(t), serve(t, fine)} {
		s.Members = append(s.Members, member1(t, a, link()))
	}
	s.Members[0].Weight, s.Members[1].Weight = 20, 20
	s.Limits, s.Host, s.Retry = limits, HostUpstream, retry(func(r *Retry) { r.Backoff = time.Millisecond })
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		_, body, err := ask(t, p, exchange(t, "PUT", "/", strings.NewReader("body")))
		if err != nil || body != "body" {
			t.Fatalf("got %q, %v", body, err)
		}
	}
	if good.Load() != 30 || broken.Load() == 0 {
		t.Errorf("got %d good and %d broken tries", good.Load(), broken.Load())
	}
}

// TestRetryDropsAnswer proves that an answer which is not passed on is closed, and gives
// its place back.
func TestRetryDropsAnswer(t *testing.T) {
	var n atomic.Int64
	l := link()
	l.MaxActive = 1
	p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, strings.Repeat("x", 10<<10))
		}
	}), l, func(s *Settings) { s.Retry = retry(func(r *Retry) { r.Backoff = time.Millisecond }) })
	resp, _, err := ask(t, p, exchange(t, "PUT", "/", strings.NewReader("body")))
	if err != nil || resp.StatusCode != 200 || n.Load() != 3 {
		t.Errorf("got %v, %v after %d tries", resp, err, n.Load())
	}
}

// TestRetryTotal proves that the time-out of the exchange spans all tries.
func TestRetryTotal(t *testing.T) {
	p := pool1(t, raw(t, func(c *net.TCPConn) { hold(c) }), link(), func(s *Settings) {
		s.Limits = Limits{Total: 250 * time.Millisecond, FirstByte: 100 * time.Millisecond}
		s.Retry = retry(func(r *Retry) { r.Attempts, r.On, r.Backoff = 10, []Reason{OnTimeout}, time.Millisecond })
	})
	begin := time.Now()
	_, _, err := ask(t, p, exchange(t, "GET", "/", nil))
	e := wantCode(t, err, airside.Timeout)
	if took := time.Since(begin); took > 2*time.Second || !strings.Contains(e.Message, "250ms") {
		t.Errorf("got %q after %s", e.Message, took)
	}
}

// TestRetryDenied proves that a request is not sent again beyond the budget, however many
// ask at the same time, and that both are counted.
func TestRetryDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier(retry(func(r *Retry) { r.Attempts, r.Budget = 2, 0.2 }), half)
		var tries atomic.Int64
		next := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			tries.Add(1)
			return nil, fails(broke, true)
		})
		var all sync.WaitGroup
		for range 1000 {
			x := exchange(t, "GET", "/", nil)
			all.Go(func() {
				if _, err := r.handle(x, next, time.Time{}); err == nil {
					t.Error("an answer came from nowhere")
				}
			})
		}
		all.Wait()
		if got, denied := r.retries.Load(), r.denied.Load(); got > 200 || got < 100 || got+denied != 1000 || tries.Load() != int64(1000+got) {
			t.Errorf("got %d retries, %d denied, %d tries", got, denied, tries.Load())
		}
	})
}

// TestRetryNoTimeLeft proves that an answer is passed on, instead of a try for which the
// time-out of the exchange leaves no time, and that the budget is left alone.
func TestRetryNoTimeLeft(t *testing.T) {
	var n atomic.Int64
	p := pool1(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Retry-After", "4000")
		w.WriteHeader(http.StatusServiceUnavailable)
	}), link(), func(s *Settings) {
		s.Limits.Total = time.Hour
		s.Retry = retry(func(r *Retry) { r.MaxWait = 2 * time.Hour })
	})
	resp, _, err := ask(t, p, exchange(t, "GET", "/", nil))
	if err != nil || resp.StatusCode != 503 || n.Load() != 1 {
		t.Errorf("got %v, %v after %d tries", resp, err, n.Load())
	}
	if s := p.Snapshot(); s.Retries != 0 || s.RetriesDenied != 0 {
		t.Errorf("got %d retries, and %d denied", s.Retries, s.RetriesDenied)
	}
}

// TestIdempotent proves which requests may be repeated.
func TestIdempotent(t *testing.T) {
	var got []string
	for _, m := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "POST", "PATCH", "QUERY"} {
		if Repeatable(&http.Request{Method: m}) {
			got = append(got, m)
		}
	}
	if want := []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// FuzzPause proves that no Retry-After makes a pause longer than may be waited.
func FuzzPause(f *testing.F) {
	for _, s := range []string{"", "1", "5", "6", "-1", "99999999999999999999", "Sat, 01 Jan 2000 00:00:03 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, after string, try int) {
		if try < 1 || try >= maxAttempts {
			return
		}
		r := &retrier{Retry: *retry(), random: half}
		pause, ok := r.pause(try, &http.Response{Header: http.Header{"Retry-After": {after}}}, nil)
		if ok && (pause < 0 || pause > r.MaxWait) {
			t.Errorf("%q: got %s", after, pause)
		}
	})
}

// TestPauseBounds proves that a back-off never overflows.
func TestPauseBounds(t *testing.T) {
	r := &retrier{random: func() float64 { return 0.999 }}
	r.Backoff, r.MaxBackoff = 1<<61, 1<<62
	for try := 1; try < maxAttempts; try++ {
		if d, ok := r.pause(try, nil, errors.New("x")); !ok || d <= 0 || d > r.MaxBackoff {
			t.Errorf("try %d: got %s, %t", try, d, ok)
		}
	}
}
