package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// tunnelled serves upgrades to a pipe, whose other end it gives out.
func tunnelled(t *testing.T, l Limits) (addr string, agents <-chan net.Conn, ended <-chan airside.Outcome) {
	t.Helper()
	far, over := make(chan net.Conn, 1), make(chan airside.Outcome, 1)
	_, addr = start(t, &Listener{Limits: l}, func(x *airside.Exchange) (*http.Response, error) {
		near, agent := net.Pipe()
		far <- agent
		x.OnDone(func(o airside.Outcome) { over <- o })
		resp := web.Response(x, http.StatusSwitchingProtocols, http.Header{"Upgrade": {"raw"}}, nil)
		resp.Body = near
		return resp, nil
	})
	return addr, far, over
}

func upgrade(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := connect(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	return c, br
}

// Whoever does not read an upgraded connection loses it, and what it holds is given
// back.
func TestUnreadTunnelEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flood func(client, agent net.Conn) net.Conn
		want  airside.Code
	}{
		{"the client does not read", func(_, agent net.Conn) net.Conn { return agent }, airside.Canceled},
		{"the agent does not read", func(client, _ net.Conn) net.Conn { return client }, airside.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, agents, ended := tunnelled(t, strict())
			client, _ := upgrade(t, addr)
			agent := <-agents
			defer agent.Close()
			if _, err := io.Copy(tt.flood(client, agent), zeros{}); err == nil {
				t.Error("the flood was taken whole")
			}
			select {
			case o := <-ended:
				if e, ok := errors.AsType[*airside.Error](o.Err); !ok || e.Code != tt.want {
					t.Errorf("got %v, want %s", o.Err, tt.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the tunnel does not end")
			}
		})
	}
}

// A tunnel that is merely quiet lives on, however long a write may take.
func TestQuietTunnelLives(t *testing.T) {
	addr, agents, ended := tunnelled(t, strict())
	client, br := upgrade(t, addr)
	agent := <-agents
	go func() {
		io.Copy(agent, agent)
		agent.Close()
	}()
	quiet := time.NewTicker(3 * strict().WriteTimeout)
	defer quiet.Stop()
	for range 3 {
		<-quiet.C
		fmt.Fprint(client, "hello\n")
		if got, err := br.ReadString('\n'); got != "hello\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	client.Close()
	if o := <-ended; o.Err != nil || o.Sent != 18 {
		t.Errorf("got %d bytes and %v, want 18 and no error", o.Sent, o.Err)
	}
}
