package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// churnFor is how long the traffic of TestChurn lasts; five minutes is what the bar asks
// for.
var churnFor = flag.Duration("churn", 6*time.Second, "how long TestChurn lasts")

const (
	churnRate    = 500 // requests a second
	churnClients = 32
)

// A phoenix is an agent that is killed and comes back at the same address.
type phoenix struct {
	addr    string
	handler http.Handler
	server  *http.Server
	ended   chan struct{}
}

func (p *phoenix) rise(t *testing.T) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr, p.ended = ln.Addr().String(), make(chan struct{})
	p.server = &http.Server{Handler: p.handler}
	go func() {
		defer close(p.ended)
		if err := p.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
}

// die closes all connections, whatever is under way on them.
func (p *phoenix) die() {
	p.server.Close()
	<-p.ended
}

// Of three agents one after the other is killed and comes back, under traffic: no request
// that may be repeated fails, and no other is carried out twice.
func TestChurn(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			churn(t, engine)
		})
	}
}

func churn(t *testing.T, engine string) {
	l := &ledger{}
	var agents []*phoenix
	var addresses []string
	for i := range 3 {
		p := &phoenix{addr: "127.0.0.1:0", handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			l.enter(r.URL.Path, fmt.Sprint(i))
			pause(r.Context(), time.Duration(rand.IntN(8))*time.Millisecond) // some are under way whenever it dies
			io.WriteString(w, "did "+r.URL.Path)
		})}
		p.rise(t)
		agents = append(agents, p)
		addresses = append(addresses, "http://"+p.addr)
	}
	defer func() {
		for _, p := range agents {
			p.die()
		}
	}()
	g := airsidetest.Start(t, fmt.Sprintf(`
upstreams:
  agents: { http: { endpoints: ['$1', '$2', '$3'], engine: %s, retry: { budget: 0.5 }, eject: {} } }
routes: [{ path: /*, to: agents }]
`, engine), addresses...)

	ctx, stop := context.WithTimeout(t.Context(), *churnFor)
	defer stop()
	var kills int
	var killer sync.WaitGroup
	killer.Go(func() {
		every := min(5*time.Second, *churnFor/8)
		for pause(ctx, every/2) {
			p := agents[kills%len(agents)]
			kills++
			p.die()
			pause(ctx, every/2)
			p.rise(t)
		}
	})
	c := &churner{g: g, ledger: l}
	c.run(ctx, t)
	killer.Wait()
	t.Logf("%d kills; of %d requests that may be repeated %d failed; of %d others %d, and %d were carried out more than once",
		kills, c.safe.Load(), c.failed.Load(), c.unsafe.Load(), c.refused.Load(), c.twice.Load())
	if kills < 3 || c.safe.Load() == 0 || c.unsafe.Load() == 0 {
		t.Error("that proves nothing")
	}
	if c.failed.Load() > 0 || c.twice.Load() > 0 {
		t.Fail()
	}
}

// A churner is the clients of TestChurn.
type churner struct {
	g      *airsidetest.Gateway
	ledger *ledger

	n, safe, failed, unsafe, refused, twice atomic.Int64
}

// run sends requests at a steady rate until ctx ends.
func (c *churner) run(ctx context.Context, t *testing.T) {
	var clients sync.WaitGroup
	defer clients.Wait()
	client := c.g.Client(airsidetest.H1)
	for range churnClients {
		clients.Go(func() {
			tick := time.NewTicker(time.Second * churnClients / churnRate)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					c.once(t, client)
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

// once sends a request; every fourth is one that may not be repeated.
func (c *churner) once(t *testing.T, client *http.Client) {
	n := c.n.Add(1)
	path, method := fmt.Sprintf("/%d", n), []string{"GET", "PUT", "DELETE", "POST"}[n%4]
	req, err := http.NewRequestWithContext(t.Context(), method, c.g.URL(airsidetest.H1, path), strings.NewReader("body"))
	if err != nil {
		t.Error(err)
		return
	}
	what := ""
	resp, err := client.Do(req)
	if err == nil {
		var b []byte
		b, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		what = fmt.Sprintf("%d %s", resp.StatusCode, b)
	}
	good := err == nil && what == "200 did "+path
	all, _ := c.ledger.of(path, "")
	if method == http.MethodPost {
		c.unsafe.Add(1)
		if !good {
			c.refused.Add(1)
		}
		if all > 1 || good && all != 1 {
			c.twice.Add(1)
			t.Errorf("POST %s was carried out %d times, the client got %s, %v", path, all, what, err)
		}
		return
	}
	c.safe.Add(1)
	if !good && c.failed.Add(1) < 10 {
		t.Errorf("%s %s after %d tries: got %s, %v", method, path, all, what, err)
	}
}
