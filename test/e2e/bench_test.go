package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

// BenchmarkExchange is one POST of 1 KiB through a whole gateway, client and agent
// included: for profiles and allocations. CPU beside other gateways is what
// bench/ measures.
func BenchmarkExchange(b *testing.B) {
	answer := strings.Repeat("a", 1024)
	agent := airsidetest.Upstream(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, answer)
	})
	g := airsidetest.Start(b, "telemetry: { log: { level: error } }\nroutes: [{ path: /*, to: '$1' }]\n", agent)
	request := fmt.Appendf(nil, "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n%s", answer)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", g.Addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 200 {
				b.Errorf("%v %v", resp, err)
				return
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
