package edge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

// messages is a handler of logs that keeps what was written.
type messages struct {
	slog.Handler

	mu   sync.Mutex
	seen []slog.Record
	more *sync.Cond
}

func newMessages() *messages {
	m := &messages{Handler: slog.DiscardHandler}
	m.more = sync.NewCond(&m.mu)
	return m
}

func (*messages) Enabled(context.Context, slog.Level) bool { return true }

func (m *messages) Handle(_ context.Context, r slog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, r.Clone())
	m.more.Broadcast()
	return nil
}

// with returns the records whose message begins with text, when there is at least one.
func (m *messages) with(text string) []slog.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		var found []slog.Record
		for _, r := range m.seen {
			if strings.HasPrefix(r.Message, text) {
				found = append(found, r)
			}
		}
		if len(found) > 0 {
			return found
		}
		m.more.Wait()
	}
}

// TestShed proves that an exchange that is shed is refused before anything looks at it,
// with Retry-After, that the connection goes on, and that it has its line in the log.
func TestShed(t *testing.T) {
	var asked atomic.Int64
	var full atomic.Bool
	handler := func(x *airside.Exchange) (*http.Response, error) {
		asked.Add(1)
		return echo(x)
	}
	shed := func(*http.Request) *airside.Error {
		if !full.Load() {
			return nil
		}
		return &airside.Error{Code: airside.Unavailable, Message: "too much to do", RetryAfter: 2 * time.Second}
	}
	log := newMessages()
	_, addr := startWith(t, &Listener{}, Settings{Handler: airside.HandlerFunc(handler), Shed: shed, Log: slog.New(log)})
	for i, shed := range []bool{false, true, false} {
		full.Store(shed)
		resp, body := raw(t, addr, "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
		want, again := http.StatusOK, ""
		if shed {
			want, again = http.StatusServiceUnavailable, "2"
		}
		if resp.StatusCode != want || resp.Header.Get("Retry-After") != again {
			t.Errorf("shed %v: %d, Retry-After %q: %s", shed, resp.StatusCode, resp.Header.Get("Retry-After"), body)
		}
		if lines := log.with("exchange"); len(lines) > i+1 {
			t.Errorf("%d lines for %d exchanges", len(lines), i+1)
		}
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("%d exchanges came through, want 2", got)
	}
}

// TestOverrunsAreLogged proves that a connection beyond the limit leaves a line, and a
// thousand of them do not leave a thousand.
func TestOverrunsAreLogged(t *testing.T) {
	limits := generous
	limits.Connections = 1
	log := newMessages()
	_, addr := startWith(t, &Listener{Limits: limits}, Settings{Handler: airside.HandlerFunc(echo), Log: slog.New(log)})
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err != nil { // it is counted
		t.Fatal(err)
	}
	begin := time.Now()
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(c) // until it is closed
		_ = c.Close()
	}
	lines := log.with("connections were closed")
	if most := 1 + int(time.Since(begin)/tellAgain); len(lines) > most {
		t.Errorf("%d lines for 100 connections within %v, want at most %d", len(lines), time.Since(begin), most)
	}
	var attrs []string
	lines[0].Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a.String())
		return true
	})
	if got, want := strings.Join(attrs, " "), "address=127.0.0.1:0 limit=1 closed=1 total=1"; got != want || lines[0].Level != slog.LevelWarn {
		t.Errorf("%v %s, want a warning with %s", lines[0].Level, got, want)
	}
}
