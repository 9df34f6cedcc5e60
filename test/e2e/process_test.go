package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary is the program, built once for all tests of this package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "airside")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "airside")
	cmd := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", file, "github.com/airside-gateway/airside/cmd/airside")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return file, nil
})

// A process is a running airside.
type process struct {
	*exec.Cmd
	t      *testing.T
	addr   string
	file   string
	ended  chan error
	mu     sync.Mutex
	log    bytes.Buffer
	seen   map[string]int // lines by message
	signal *sync.Cond
}

var listening = regexp.MustCompile(`"listening":"([^" ]+)`)

// run starts airside with the configuration and waits until it is ready.
func run(t *testing.T, yaml string) *process {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, file: filepath.Join(t.TempDir(), "airside.yaml"), ended: make(chan error, 1), seen: map[string]int{}}
	p.signal = sync.NewCond(&p.mu)
	p.write(yaml)
	p.Cmd = exec.Command(bin, "run", "-c", p.file)
	p.begin()
	return p
}

// begin starts the program and waits until it is ready.
func (p *process) begin() {
	p.t.Helper()
	p.launch()
	p.ready()
}

// launch starts the program.
func (p *process) launch() {
	p.t.Helper()
	out, err := p.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
	go p.follow(out)
	p.t.Cleanup(func() {
		p.Process.Kill()
		p.waitEnd(10 * time.Second)
	})
}

// ready waits until the program is.
func (p *process) ready() {
	p.t.Helper()
	p.waitFor("airside is ready", 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr = string(listening.FindSubmatch(p.log.Bytes())[1])
}

func (p *process) write(yaml string) {
	if err := os.WriteFile(p.file, []byte("admin: off\n"+yaml), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

var message = regexp.MustCompile(`"msg":"([^"]+)"`)

func (p *process) follow(out io.Reader) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.log.WriteString(s.Text() + "\n")
		if m := message.FindStringSubmatch(s.Text()); m != nil {
			p.seen[m[1]]++
		}
		p.signal.Broadcast()
		p.mu.Unlock()
	}
	p.ended <- p.Wait()
	close(p.ended)
	p.mu.Lock()
	p.seen["ended"] = 1
	p.signal.Broadcast()
	p.mu.Unlock()
}

// waitFor waits until the log has had n lines with the message.
func (p *process) waitFor(msg string, n int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.seen[msg] < n {
		if p.seen["ended"] > 0 {
			p.t.Fatalf("the process ended before %q was logged:\n%s", msg, p.log.String())
		}
		p.signal.Wait()
	}
}

func (p *process) waitEnd(limit time.Duration) error {
	select {
	case err := <-p.ended:
		return err
	case <-time.After(limit):
		return fmt.Errorf("still running after %s", limit)
	}
}

// text is the log so far.
func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) lines(msg string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[msg]
}

// peak is the largest resident size so far, in bytes.
func (p *process) peak() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}

// 100 MiB go up and down through the gateway, over each protocol, and it stays
// under 64 MiB.
func TestMemoryOfLargeBodies(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
			return
		}
		io.Copy(w, pattern())
	}))
	defer agent.Close()
	p := run(t, fmt.Sprintf("listen: { address: '127.0.0.1:0', limits: { body: 256MiB } }\nroutes: [{ path: /*, to: '%s' }]\n", agent.URL))
	for _, h2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!h2)
		protocols.SetUnencryptedHTTP2(h2)
		tr := &http.Transport{Protocols: protocols}
		for _, method := range []string{"POST", "GET"} {
			var body io.Reader
			if method == "POST" {
				body = pattern()
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.addr+"/x", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err != nil || method == "GET" && n != huge {
				t.Errorf("%s h2=%v: %d bytes, %v", method, h2, n, err)
			}
			resp.Body.Close()
		}
		tr.CloseIdleConnections()
	}
	peak := p.peak()
	t.Logf("peak resident size %.1f MiB", float64(peak)/(1<<20))
	if peak > 64<<20 {
		t.Errorf("the gateway took %d MiB, want at most 64", peak>>20)
	}
}

// traffic is 200 POST/s over keep-alive connections and a number of open event
// streams, which all go on until it is stopped.
type traffic struct {
	sent, failed, refused atomic.Int64
	cut                   atomic.Int64
	stop                  context.CancelFunc
	wg                    sync.WaitGroup
	open                  atomic.Int64
	ready                 chan struct{}
	mu                    sync.Mutex
	faults                []string
}

const streams = 100

func startTraffic(t *testing.T, addr string) *traffic {
	ctx, stop := context.WithCancel(context.Background())
	f := &traffic{stop: stop, ready: make(chan struct{})}
	posts := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	work := make(chan struct{})
	for range 20 {
		f.wg.Go(func() {
			for range work {
				f.post(posts, addr)
			}
		})
	}
	f.wg.Go(func() {
		defer posts.CloseIdleConnections()
		defer close(work)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				work <- struct{}{}
			case <-ctx.Done():
				return
			}
		}
	})
	tr := &http.Transport{}
	for range streams {
		f.wg.Go(func() { f.stream(ctx, tr, addr) })
	}
	t.Cleanup(func() { stop(); f.wg.Wait(); tr.CloseIdleConnections() })
	<-f.ready
	return f
}

func (f *traffic) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

// post sends one request. A refused connection is counted apart: where a gateway
// stops, nothing that it had accepted may be lost, but it accepts no more.
func (f *traffic) post(c *http.Client, addr string) {
	resp, err := c.Post("http://"+addr+"/post", "text/plain", strings.NewReader("hello"))
	if err != nil {
		if errorIsRefused(err) {
			f.refused.Add(1)
			return
		}
		f.failed.Add(1)
		f.fault("%v", err)
		return
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	f.sent.Add(1)
	if err != nil || resp.StatusCode != 200 || string(b) != "hello" {
		f.failed.Add(1)
		f.fault("%d %q %v", resp.StatusCode, b, err)
	}
}

func errorIsRefused(err error) bool {
	return strings.Contains(err.Error(), "connection refused")
}

// stream holds a stream open and reads its events until the traffic is stopped.
func (f *traffic) stream(ctx context.Context, tr *http.Transport, addr string) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/stream", nil)
	if err != nil {
		f.fault("%v", err)
		return
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		f.fault("opening a stream: %v", err)
		return
	}
	defer resp.Body.Close()
	if f.open.Add(1) == streams {
		close(f.ready)
	}
	s := bufio.NewScanner(resp.Body)
	last := -1
	for s.Scan() {
		n, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok {
			continue
		}
		i, err := strconv.Atoi(n)
		if err != nil || i != last+1 {
			f.fault("event %q after %d", n, last)
		}
		last = i
	}
	if ctx.Err() == nil {
		f.cut.Add(1)
	}
}

// busyAgent echoes POSTs after a moment and streams events until it is closed.
func busyAgent(t *testing.T) *httptest.Server {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/post" {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-done:
			}
			w.Write(b)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-done:
				return
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(func() { close(done); s.Close() })
	return s
}

// goodFile is the nth of the files that are loaded in turn: each differs from the
// one before in routes, policies, limits and the settings of its listener.
func goodFile(agent string, n int) string {
	return fmt.Sprintf(`shutdown: { grace: 5s }
listen: { address: '127.0.0.1:0', limits: { body: %dKiB, headers: %dKiB, idle: %ds } }
upstreams: { agent: { http: { url: '%s', first_byte: %ds } } }
policies: { fair: { ratelimit: { limit: %d, per: 1s } } }
routes:
  - { path: /*, use: [fair], to: agent }
  - { path: /round%d, to: agent }
`, 64+n, 32+n%3, 60+n%2, agent, 30+n%2, 100000+n, n)
}

// 50 reloads under load lose no request and cut no stream; 100 bad files are all
// refused, with line and reason, while the old configuration serves.
func TestReloadUnderLoad(t *testing.T) {
	agent := busyAgent(t)
	p := run(t, goodFile(agent.URL, 0))
	f := startTraffic(t, p.addr)
	bad := 0
	for n := 1; n <= 50; n++ {
		p.write(goodFile(agent.URL, n))
		p.Process.Signal(syscall.SIGHUP)
		p.waitFor("configuration loaded", n)
		for range 2 {
			before := p.lines("the configuration was refused, the old one stays in force")
			p.write(badFile(agent.URL, bad))
			bad++
			p.Process.Signal(syscall.SIGHUP)
			p.waitFor("the configuration was refused, the old one stays in force", before+1)
		}
		want := fmt.Sprintf("http://%s/round%d", p.addr, n)
		resp, err := http.Get(want)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %v %v: the old configuration does not serve", want, resp, err)
		}
		resp.Body.Close()
		waitSent(f, int64(20*n)) // each configuration serves for a while
	}
	f.stop()
	f.wg.Wait()
	t.Logf("%d requests sent, %d lost, %d of %d streams cut, %d bad files refused", f.sent.Load(), f.failed.Load(), f.cut.Load(), streams, bad)
	if f.failed.Load() > 0 || f.refused.Load() > 0 || f.cut.Load() > 0 || len(f.faults) > 0 {
		t.Errorf("%d failed, %d refused, %d streams cut: %v", f.failed.Load(), f.refused.Load(), f.cut.Load(), f.faults[:min(len(f.faults), 5)])
	}
	at := regexp.MustCompile(`"at":"[^"]*airside.yaml:\d+:\d+","err":"[^"]+`)
	if got := len(at.FindAllString(p.text(), -1)); got < bad {
		t.Errorf("%d refusals name line and reason, want %d", got, bad)
	}
}

// badFile is the nth of many ways to break a good file.
func badFile(agent string, n int) string {
	good := goodFile(agent, n)
	switch n % 10 {
	case 0:
		return strings.Replace(good, "to: agent", "too: agent", 1)
	case 1:
		return strings.Replace(good, "use: [fair]", "use: [fare]", 1)
	case 2:
		return strings.Replace(good, "first_byte: ", "first_byte: x", 1)
	case 3:
		return good + "routes: []\n"
	case 4:
		return good + "  broken: [\n"
	case 5:
		return strings.Replace(good, "limit: ", "limit: -", 1)
	case 6:
		return strings.Replace(good, agent, "${env:AIRSIDE_NO_SUCH_SECRET}", 1)
	case 7:
		return strings.Replace(good, "per: 1s", "per: 1", 1)
	case 8:
		return strings.Replace(good, "path: /round", "path: //round", 1)
	default:
		return good + strings.Repeat("  - { path: /*, to: agent }\n", 10*n)
	}
}

// SIGTERM under load: what had been accepted is answered, streams may go on for the
// grace, and the process ends in time with code 0.
func TestTerminationUnderLoad(t *testing.T) {
	agent := busyAgent(t)
	p := run(t, goodFile(agent.URL, 0))
	f := startTraffic(t, p.addr)
	waitSent(f, 100)
	begun := time.Now()
	p.Process.Signal(syscall.SIGTERM)
	p.waitFor("stopping: what is under way may end", 1)
	if err := p.waitEnd(20 * time.Second); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
	took := time.Since(begun)
	f.stop()
	f.wg.Wait()
	t.Logf("%d requests answered, %d lost, %d refused after the end; it took %s", f.sent.Load(), f.failed.Load(), f.refused.Load(), took)
	if f.failed.Load() > 0 {
		t.Errorf("%d requests lost: %v", f.failed.Load(), f.faults[:min(len(f.faults), 5)])
	}
	if took > 6*time.Second {
		t.Errorf("it took %s, want at most the grace of 5s and 1s", took)
	}
}

// Without streams everything ends by itself, long before the grace is over.
func TestTerminationIsClean(t *testing.T) {
	agent := busyAgent(t)
	p := run(t, goodFile(agent.URL, 0))
	tr := &http.Transport{}
	client := &http.Client{Transport: tr}
	resp, err := client.Get("http://" + p.addr + "/round0")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	slow := make(chan error, 1)
	go func() {
		resp, err := client.Post("http://"+p.addr+"/post", "text/plain", strings.NewReader("hello"))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		slow <- err
	}()
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	p.Process.Signal(syscall.SIGTERM)
	if err := p.waitEnd(4 * time.Second); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
	if c, err := net.DialTimeout("tcp", p.addr, time.Second); err == nil {
		c.Close()
		t.Error("the address is still open")
	}
}

func waitSent(f *traffic, n int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for f.sent.Load() < n {
		<-tick.C
	}
}

// With --watch a changed file is taken without being told to, and so is a changed
// secret that it refers to.
func TestWatch(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "key")
	if err := os.WriteFile(secret, []byte("the-first-key-0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, file: filepath.Join(dir, "airside.yaml"), ended: make(chan error, 1), seen: map[string]int{}}
	p.signal = sync.NewCond(&p.mu)
	p.write("listen: 127.0.0.1:0\nroutes: [{ path: /, use: [{ apikey: { keys: { a: '${file:key}' } } }, { static: { body: hi } }] }]\n")
	p.Cmd = exec.Command(bin, "run", "-c", p.file, "--watch")
	p.begin()
	ask := func(key string) int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		tr := &http.Transport{DisableKeepAlives: true}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask("the-first-key-0123456789"); got != 200 {
		t.Errorf("the first key got %d", got)
	}
	if err := os.WriteFile(secret, []byte("the-second-key-0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.waitFor("configuration loaded", 1)
	if first, second := ask("the-first-key-0123456789"), ask("the-second-key-0123456789"); first != 401 || second != 200 {
		t.Errorf("after the change the first key got %d, the second %d", first, second)
	}
	p.write("routes: [\n")
	p.waitFor("the configuration was refused, the old one stays in force", 1)
	if got := ask("the-second-key-0123456789"); got != 200 {
		t.Errorf("after a broken file: got %d", got)
	}
}

// Ready in less than 200 ms, idle in less than 64 MiB.
func TestFootprint(t *testing.T) {
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	p := run(t, "listen: 127.0.0.1:0\nroutes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
	took := time.Since(begun)
	t.Logf("ready after %s, resident %.1f MiB", took, float64(p.peak())/(1<<20))
	if took > 2*time.Second { // the bar is 200 ms; a machine that is busy with tests is allowed ten times that
		t.Errorf("ready after %s", took)
	}
	if p.peak() > 64<<20 {
		t.Errorf("resident %d MiB", p.peak()>>20)
	}
}
