package transform

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/airside-gateway/airside"
)

// A bomb is a JSON list of about size bytes that takes much more memory decoded. Noise
// is how many random digits stand in each KiB, so that it does not compress too well.
func bomb(element string, size, noise int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("[")
	for b.Len() < size-1200 {
		for end := b.Len() + 1024; b.Len() < end; {
			b.WriteString(element + ",")
		}
		b.WriteString(`"`)
		for range noise {
			b.WriteByte(byte('0' + random.IntN(10)))
		}
		b.WriteString(`",`)
	}
	return b.String() + "0]"
}

// sent makes an exchange with a JSON body, which may be packed by gzip.
func sent(body string, packed bool) *airside.Exchange {
	h := http.Header{"Content-Type": {"application/json"}}
	if packed {
		h.Set("Content-Encoding", "gzip")
	}
	return exchange("POST", "/x", body, h)
}

var answered = airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
})

// TestBombs proves that many bodies at once that become much more than they were leave
// the heap within a bound, and that ordinary bodies pass meanwhile.
func TestBombs(t *testing.T) {
	const (
		many  = 100
		bound = 256 << 20
	)
	c := settings(func(c *Config) { c.Request = filter("length") })
	m, err := New(environment(), c)
	if err != nil {
		t.Fatal(err)
	}
	h := m(answered)
	for _, tt := range []struct {
		name   string
		body   string
		packed bool
		all    airside.Code // what all are refused with; empty: some pass
	}{
		{"packed too well", bomb("1", 1<<20, 0), true, airside.TooLarge},
		{"too many values", bomb("1", 1<<20, 20), true, airside.TooLarge},
		{"too much memory", bomb(`{"":{"":{"":0}}}`, 1<<20, 20), true, airside.TooLarge},
		{"objects", bomb(`{"":0}`, 512<<10, 20), true, ""},
		{"lists, plain", bomb(`[["ab"]]`, 512<<10, 20), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.packed {
				tt.body = zip(tt.body)
			}
			debug.FreeOSMemory()
			peak := watch(t)
			var passed, ordinary atomic.Int64
			var all sync.WaitGroup
			for range many {
				x := sent(tt.body, tt.packed)
				all.Go(func() {
					resp, err := h.Handle(x)
					if err == nil && resp.StatusCode == http.StatusOK {
						passed.Add(1)
						return
					}
					e, _ := errors.AsType[*airside.Error](err)
					if e == nil || e.Code != airside.TooLarge && e.Code != airside.Unavailable || tt.all != "" && e.Code != tt.all {
						t.Errorf("got %v", err)
					}
				})
				all.Go(func() {
					if _, err := h.Handle(post(`["an", {"ordinary": "body"}]`)); err == nil {
						ordinary.Add(1)
					}
				})
			}
			all.Wait()
			if got := peak(); got > bound {
				t.Errorf("the heap grew to %d MiB, want at most %d", got>>20, bound>>20)
			}
			if (passed.Load() > 0) != (tt.all == "") {
				t.Errorf("%d of %d passed", passed.Load(), many)
			}
			if ordinary.Load() != many {
				t.Errorf("%d of %d ordinary bodies passed", ordinary.Load(), many)
			}
		})
	}
}

// watch notes how large the heap gets, garbage included, until the function that it
// returns is called.
func watch(t *testing.T) (peak func() uint64) {
	t.Helper()
	var most uint64
	look := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				look()
			}
		}
	}()
	return func() uint64 {
		close(end)
		<-ended
		look()
		return most
	}
}

// TestRatio proves where decompression ends: at 64 KiB for a small body, and at 100
// times the size of a larger one.
func TestRatio(t *testing.T) {
	h := build(t, func(c *Config) { c.Request = filter("length") })(answered)
	for _, tt := range []struct {
		size int
		ok   bool
	}{{60 << 10, true}, {64<<10 - 2, true}, {64<<10 - 1, false}, {512 << 10, false}} {
		_, err := h.Handle(sent(zip(`"`+strings.Repeat("x", tt.size)+`"`), true))
		if (err == nil) != tt.ok {
			t.Errorf("%d bytes: got %v", tt.size, err)
		}
		if err != nil {
			wantError(t, err, airside.TooLarge, "the request body becomes more than 100 times as large when it is decompressed: send it plain")
		}
	}
	var b strings.Builder // of about 20 to 1
	for i := range 10_000 {
		fmt.Fprintf(&b, `,{"role":"user","content":"the same question again and again","n":%d}`, i)
	}
	if _, err := h.Handle(sent(zip("["+b.String()[1:]+"]"), true)); err != nil {
		t.Errorf("ordinary text: %v", err)
	}
}

func wantError(t *testing.T, err error, code airside.Code, message string) {
	t.Helper()
	e, ok := errors.AsType[*airside.Error](err)
	if !ok || e.Code != code || e.Message != message {
		t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

// TestRoomShared proves that a body waits for the memory of others, of other policies
// too, and is refused with 503 when that takes too long; one that needs little does
// not wait.
func TestRoomShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := map[string]any{}
		env := &airside.Env{Where: "policies.t", Keep: func(key string, build func() (any, error)) (any, error) {
			if kept[key] == nil {
				kept[key], _ = build()
			}
			return kept[key], nil
		}}
		c := settings(func(c *Config) { c.Request, c.Response = filter("length"), filter("length") })
		one, err := New(env, c)
		if err != nil {
			t.Fatal(err)
		}
		shared, err := room(env)
		if err != nil {
			t.Fatal(err)
		}
		leave, err := shared.Enter(t.Context(), roomSize, 0)
		if err != nil {
			t.Fatal(err)
		}
		large := bomb(`{"":0}`, 100<<10, 20)
		begin := time.Now()
		_, err = one(answered).Handle(post(large))
		wantError(t, err, airside.Unavailable, "the gateway has no memory left to transform this within 5s; try again soon")
		if e := airside.AsError(err); e.RetryAfter != roomRetry || time.Since(begin) != roomWait {
			t.Errorf("refused after %s, to be tried again after %s", time.Since(begin), e.RetryAfter)
		}
		agent := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: -1, Body: airside.BodyReader([]byte(large))}, nil
		})
		_, err = one(agent).Handle(exchange("GET", "/x", "", nil))
		wantError(t, err, airside.Unavailable, "the gateway has no memory left to transform this within 5s; try again soon")
		if _, err := one(answered).Handle(post(`[1, 2, 3]`)); err != nil {
			t.Errorf("a small one: %v", err)
		}
		go func() {
			time.AfterFunc(time.Second, leave)
		}()
		begin = time.Now()
		if _, err := one(agent).Handle(post(large)); err != nil || time.Since(begin) != time.Second {
			t.Errorf("got %v after %s, want to wait a second", err, time.Since(begin))
		}
		if got := shared.Used(); got != 0 {
			t.Errorf("%d bytes were not given back", got)
		}
	})
}
