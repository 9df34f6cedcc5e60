package edge

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// usual is a request as clients of agents send them, without its body.
const usual = "POST /agents/symptoms?trace=1 HTTP/1.1\r\nHost: gateway.example\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n" +
	"Accept-Encoding: identity\r\nContent-Type: application/json\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\nContent-Length: 1024\r\n\r\n"

// BenchmarkEdge measures what a POST of 1 KiB with an answer of 1 KiB costs without an
// agent: both ends of the connection are in this process.
func BenchmarkEdge(b *testing.B) {
	answer := bytes.Repeat([]byte("a"), 1024)
	buf := make([]byte, 4096)
	s := New(Settings{
		Log: slog.New(slog.DiscardHandler), Fallback: web.Protocol{},
		Handler: airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			for {
				if _, err := x.Request.Body.Read(buf); err != nil {
					break
				}
			}
			h := http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(answer))}, "Date": {"Sun, 22 Nov 2026 00:00:00 GMT"}}
			resp := web.Response(x, 200, h, answer)
			return resp, nil
		}),
	})
	c, err := s.Prepare([]*Listener{{Address: "127.0.0.1:0", HTTP1: true, Limits: Limits{
		Headers: 64 << 10, Body: 1 << 20, HeaderTimeout: 10 * time.Second, Idle: time.Minute, WriteTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second,
	}}})
	if err != nil {
		b.Fatal(err)
	}
	c.Commit()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx, 0)
	})
	nc, err := net.Dial("tcp", s.Addrs()["127.0.0.1:0"].String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	request := append([]byte(usual), answer...)
	reply := make([]byte, 4096)
	if _, err := nc.Write(request); err != nil {
		b.Fatal(err)
	}
	n, err := io.ReadAtLeast(nc, reply, 1100)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, reply[:n]); err != nil {
			b.Fatal(err)
		}
	}
}
