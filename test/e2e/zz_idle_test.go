package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

func TestZZIdle(t *testing.T) {
	agent, _ := net.Listen("tcp", "127.0.0.1:0")
	var kept []net.Conn
	go func() {
		for {
			c, err := agent.Accept()
			if err != nil {
				return
			}
			kept = append(kept, c)
			go func() {
				r := bufio.NewReaderSize(c, 512)
				http.ReadRequest(r)
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			}()
		}
	}()
	g := airsidetest.Start(t, "telemetry: { log: { level: warn } }\nroutes: [{ path: /*, to: $1 }]\n", "http://"+agent.Addr().String())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 2000
	var cs []net.Conn
	for range n {
		c, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET /x HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n")
		b := make([]byte, 400)
		c.Read(b)
		cs = append(cs, c)
	}
	time.Sleep(time.Second)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("heap %d stack %d objects %d other %d", (int(after.HeapAlloc)-int(before.HeapAlloc))/n, (int(after.StackInuse)-int(before.StackInuse))/n, (after.HeapObjects-before.HeapObjects)/n, (after.Sys-before.Sys)/n)
	f, _ := os.Create("/tmp/idle/heap.prof")
	pprof.WriteHeapProfile(f)
	f.Close()
	buf := make([]byte, 1<<20)
	m := runtime.Stack(buf, true)
	os.WriteFile("/tmp/idle/stacks", buf[:m], 0o600)
	for _, c := range cs {
		c.Close()
	}
	agent.Close()
}
