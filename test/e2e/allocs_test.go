//go:build !race

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/telemetry"
)

// mostAllocations is the bar for an exchange through a gateway that does nothing but
// pass it on, and the usual chain keeps it too.
const mostAllocations = 10

// TestAllocations proves how little an exchange of 1 KiB both ways allocates, and that
// the usual policies add few. With the race detector it would not hold: a sync.Pool
// forgets at random under it.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		most       float64
	}{
		{"bare", "routes: [{ path: /*, to: $1 }]\n", mostAllocations},
		{"usual chain", `policies:
  callers: { apikey: { keys: { load: { key: sk-bench-0123456789abcdef0123456789abcdef, claims: { roles: [bench] } } } } }
  allowed: { allow: '"bench" in caller.claims.roles' }
  fair:    { ratelimit: { limit: 1000000000, per: 1m, by: caller.id } }
  tell:    { headers: { request: { set: { X-Caller: { cel: caller.id } } } } }
routes: [{ path: /*, use: [callers, allowed, fair, tell], to: $1 }]
`, mostAllocations},
		{"traced", "telemetry: { traces: { otlp: http://127.0.0.1:1, sample: 0.01 } }\nroutes: [{ path: /*, to: $1 }]\n", mostAllocations},
	} {
		t.Run(c.name, func(t *testing.T) {
			once := exchanger(t, c.yaml)
			for range 100 {
				once()
			}
			got := testing.AllocsPerRun(500, once)
			t.Logf("%.1f allocations an exchange", got)
			if got > c.most {
				t.Errorf("got %.1f allocations an exchange, want at most %.0f", got, c.most)
			}
		})
	}
}

// exchanger starts a gateway that logs, counts and records as airside run does, and an
// agent that allocates nothing, and returns a client that does not either.
func exchanger(t *testing.T, yaml string) (once func()) {
	t.Helper()
	body := strings.Repeat("a", 1<<10)
	agent := echoless(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Length: 1024\r\n\r\n"+body)
	out, err := telemetry.Open(telemetry.Output{Writer: io.Discard}, telemetry.JSON, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	seen := admin.NewRecorder(nil)
	seen.Set(true, 1000)
	a := app.New(app.Settings{Log: out.Logger, Observers: []edge.Observer{seen}})
	t.Cleanup(func() {
		if err := errors.Join(a.Shutdown(context.Background()), out.Close()); err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
	file := "listen: \"127.0.0.1:0\"\nadmin: off\nshutdown: { grace: 1s }\n" + strings.ReplaceAll(yaml, "$1", "http://"+agent)
	conf, err := app.Parse("airside.yaml", []byte(file), config.Lookup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(conf); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", a.Addrs()["127.0.0.1:0"].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	request := []byte(fmt.Sprintf("POST /agents/symptoms HTTP/1.1\r\nHost: gateway.example\r\nUser-Agent: test\r\nAccept: application/json\r\n"+
		"Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	answer := make([]byte, 4<<10)
	end := []byte(body)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(answer[:n], end); {
			m, err := c.Read(answer[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
			t.Fatalf("the answer is %q", answer[:100])
		}
	}
}

// echoless is an agent that gives every request of 1 KiB the same answer.
func echoless(t *testing.T, answer string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out, tail := []byte(answer), []byte("aaaaaaaa")
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serveSame(c, out, tail)
			c.Close()
		}
	}()
	return ln.Addr().String()
}

func serveSame(c net.Conn, out, tail []byte) {
	in := make([]byte, 8<<10)
	for n := 0; ; {
		m, err := c.Read(in[n:])
		if n += m; err == io.EOF || err != nil {
			return
		}
		if n > 1<<10 && bytes.HasSuffix(in[:n], tail) {
			n = 0
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}
