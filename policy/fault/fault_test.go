package fault

import (
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

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func build(t testing.TB, change func(*Config), next airside.Handler) airside.Handler {
	t.Helper()
	var c Config
	c.Defaults()
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(&airside.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m(next)
}

func exchange(ctx context.Context) *airside.Exchange {
	x := airside.NewExchange(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://example.test/?a=1&a=2", nil), slog.New(slog.DiscardHandler))
	x.Protocol = web.Protocol{}
	x.Call.Operation = http.MethodGet
	return x
}

func agent(body io.Reader) airside.Handler {
	return airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}, nil
	})
}

func TestDelay(t *testing.T) {
	for _, tt := range []struct {
		name        string
		delay       Delay
		least, most time.Duration
	}{
		{"fixed", Delay{Fixed: time.Second}, time.Second, time.Second},
		{"jitter", Delay{Jitter: time.Second}, 0, time.Second},
		{"both", Delay{Fixed: time.Second, Jitter: time.Second}, time.Second, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, func(c *Config) { c.Delay = tt.delay }, agent(strings.NewReader("")))
				seen := map[time.Duration]bool{}
				for range 20 {
					start := time.Now()
					if _, err := h.Handle(exchange(t.Context())); err != nil {
						t.Fatal(err)
					}
					took := time.Since(start)
					if took < tt.least || took > tt.most {
						t.Errorf("delayed by %v, want %v to %v", took, tt.least, tt.most)
					}
					seen[took] = true
				}
				if varies := len(seen) > 1; varies != (tt.delay.Jitter > 0) {
					t.Errorf("%d different delays with a jitter of %v", len(seen), tt.delay.Jitter)
				}
			})
		})
	}
}

func TestDelayEndsWithClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, context.Canceled)
		defer cancel()
		start := time.Now()
		_, err := build(t, func(c *Config) { c.Delay.Fixed = time.Hour }, agent(nil)).Handle(exchange(ctx))
		if got := airside.AsError(err).Code; got != airside.Canceled || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want %s after 1s", err, time.Since(start), airside.Canceled)
		}
	})
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		status      int
		contentType string
		body        string
	}{
		{503, "application/problem+json", `{"type":"about:blank","title":"The agent is not available","status":503,"detail":"this answer was made by the fault policy","code":"unavailable"}` + "\n"},
		{418, "text/plain; charset=utf-8", "this answer was made by the fault policy\n"},
		{200, "text/plain; charset=utf-8", "this answer was made by the fault policy\n"},
		{204, "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, func(c *Config) { c.Delay.Fixed, c.Abort = time.Second, &Abort{Status: tt.status} }, nil)
			start := time.Now()
			resp, err := h.Handle(exchange(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || string(b) != tt.body || resp.Header.Get("Content-Type") != tt.contentType {
				t.Errorf("got %d %q %q (%v), want %d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), b, err, tt.status, tt.contentType, tt.body)
			}
			if got := time.Since(start); got != time.Second {
				t.Errorf("answered after %v, want the delay of 1s", got)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		cut  airside.Size
		want string
		code airside.Code
	}{
		{0, "", airside.UpstreamFailed}, {3, "abc", airside.UpstreamFailed}, {5, "abcde", airside.UpstreamFailed}, {6, "abcde", ""},
	} {
		for _, way := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
		} {
			h := build(t, func(c *Config) { c.Abort = &Abort{Cut: new(tt.cut)} }, agent(way(strings.NewReader("abcde"))))
			resp, err := h.Handle(exchange(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			var code airside.Code
			if err != nil {
				code = airside.AsError(err).Code
			}
			if string(b) != tt.want || code != tt.code {
				t.Errorf("cut %d: got %q, %v; want %q, %q", tt.cut, b, err, tt.want, tt.code)
			}
		}
	}
}

// What there is nothing to cut of is left as it is.
func TestNotCut(t *testing.T) {
	failed := errors.New("no")
	for _, want := range []struct {
		resp *http.Response
		err  error
	}{{nil, failed}, {&http.Response{StatusCode: 101, Body: http.NoBody}, nil}, {&http.Response{StatusCode: 204}, nil}} {
		h := build(t, func(c *Config) { c.Abort = &Abort{Cut: new(airside.Size(0))} }, airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			return want.resp, want.err
		}))
		resp, err := h.Handle(exchange(t.Context()))
		if !errors.Is(err, want.err) || resp != want.resp {
			t.Errorf("got %v, %v; want %v, %v", resp, err, want.resp, want.err)
		}
		if resp != nil && resp.StatusCode == 101 && resp.Body != http.NoBody {
			t.Error("an upgraded connection is cut")
		}
	}
}

// draw makes n exchanges and says which were hit.
func draw(t *testing.T, n int, change func(*Config)) []bool {
	t.Helper()
	h := build(t, func(c *Config) {
		c.Abort = &Abort{Status: 418}
		change(c)
	}, agent(strings.NewReader("")))
	out := make([]bool, n)
	for i := range out {
		resp, err := h.Handle(exchange(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = resp.StatusCode == 418
	}
	return out
}

func count(hits []bool) int {
	n := 0
	for _, hit := range hits {
		if hit {
			n++
		}
	}
	return n
}

func TestShare(t *testing.T) {
	const n = 10_000
	for _, tt := range []struct {
		share       float64
		least, most int
	}{{0, 0, 0}, {100, n, n}, {20, 1800, 2200}, {0.5, 20, 90}} {
		if got := count(draw(t, n, func(c *Config) { c.Share, c.Seed = tt.share, 7 })); got < tt.least || got > tt.most {
			t.Errorf("%v %%: %d of %d were hit, want %d to %d", tt.share, got, n, tt.least, tt.most)
		}
	}
}

func TestSeed(t *testing.T) {
	half := func(seed uint64) []bool { return draw(t, 200, func(c *Config) { c.Share, c.Seed = 50, seed }) }
	if !cmp.Equal(half(7), half(7)) {
		t.Error("one seed gives two rows")
	}
	if cmp.Equal(half(7), half(8)) {
		t.Error("two seeds give one row")
	}
	if cmp.Equal(half(0), half(0)) {
		t.Error("without a seed, the row is the same again")
	}
}

// Draws are safe for concurrent use.
func TestSeedConcurrent(t *testing.T) {
	h := build(t, func(c *Config) { c.Abort, c.Share, c.Seed = &Abort{Status: 418}, 50, 7 }, agent(strings.NewReader("")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := h.Handle(exchange(t.Context())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWhen(t *testing.T) {
	for _, tt := range []struct {
		when string
		want bool
	}{
		{`call.operation == "GET"`, true},
		{`call.operation == "POST"`, false},
		{`request.headers["x-none"] == "1"`, false}, // cannot be evaluated
		{`request.query.a == "1"`, false},           // nor can this: a is there twice
	} {
		if got := count(draw(t, 1, func(c *Config) { c.When = tt.when })) == 1; got != tt.want {
			t.Errorf("%s: hit %v, want %v", tt.when, got, tt.want)
		}
	}
	_, err := New(&airside.Env{}, Config{When: "call."})
	if f, ok := errors.AsType[*airside.FieldError](err); !ok || f.Field != "when" {
		t.Errorf("bad condition: %v, want an error of the field when", err)
	}
}

func TestConfig(t *testing.T) {
	var d Delay
	if err := d.UnmarshalText([]byte("1m30s")); err != nil || d != (Delay{Fixed: 90 * time.Second}) {
		t.Errorf("1m30s: got %+v, %v", d, err)
	}
	if err := d.UnmarshalText([]byte("soon")); err == nil || err.Error() != `"soon" is not a duration such as 300ms or 20s` {
		t.Errorf("soon: got %v", err)
	}
	var nan float64
	nan /= nan
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{Config{}, "fault needs delay or abort"},
		{Config{Delay: Delay{Fixed: -1}}, "delay.fixed: must be from 0s to 1h"},
		{Config{Delay: Delay{Jitter: 2 * time.Hour}}, "delay.jitter: must be from 0s to 1h"},
		{Config{Delay: Delay{Fixed: 1}, Share: 101}, "share: must be from 0 to 100"},
		{Config{Delay: Delay{Fixed: 1}, Share: nan}, "share: must be from 0 to 100"},
		{Config{Abort: &Abort{}}, "abort: needs one of status and cut"},
		{Config{Abort: &Abort{Status: 500, Cut: new(airside.Size(1))}}, "abort: needs one of status and cut"},
		{Config{Abort: &Abort{Status: 100}}, "abort.status: must be from 200 to 599"},
		{Config{Abort: &Abort{Cut: new(airside.Size(0))}}, ""},
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
