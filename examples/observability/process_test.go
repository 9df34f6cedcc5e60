package observability

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// binary is the program, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "airside")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "airside")
	cmd := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", file, "github.com/airside-gateway/airside/cmd/airside")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(file)) // the system would, too
	}
	os.Exit(code)
}

// tool finds a program of Debian's package prometheus. Without it nothing is proven, so
// the test fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install it (Debian: apt-get install prometheus)", name)
	}
	return path
}

// start starts a program that ends with the test, and returns what it writes, line by
// line.
func start(t *testing.T, name string, args ...string) <-chan string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, ended := make(chan string, 10_000), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case lines <- s.Text():
			default: // nobody reads so much
			}
		}
		_ = cmd.Wait() // by a signal
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		patience := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		<-ended
		patience.Stop()
	})
	return lines
}

// A gateway is a running one.
type gateway struct {
	addr, admin string
	file        string
}

// serve runs the program with the example's configuration, on free ports, with two agents
// and an address where there is none.
func serve(t *testing.T) *gateway {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	agent := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/broken") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "hello")
	}
	text := strings.NewReplacer(
		"127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:9900", "127.0.0.1:0",
		"http://127.0.0.1:9001", airsidetest.Upstream(t, agent), "http://127.0.0.1:9002", airsidetest.Upstream(t, agent),
		"127.0.0.1:9003", free(t),
	).Replace(read(t, "airside.yaml"))
	g := &gateway{file: filepath.Join(t.TempDir(), "airside.yaml")}
	if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range start(t, bin, "run", "-c", g.file, "--watch") {
		all = append(all, line)
		var ready struct{ Msg, Listening, Admin string }
		if json.Unmarshal([]byte(line), &ready) == nil && ready.Msg == "airside is ready" {
			g.addr, g.admin = ready.Listening, ready.Admin
			return g
		}
	}
	t.Fatalf("the gateway did not start:\n%s", strings.Join(all, "\n"))
	return nil
}

// free is an address where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// use sends exchanges of each kind.
func (g *gateway) use(t *testing.T) {
	t.Helper()
	c := airsidetest.Client(t, airsidetest.H1)
	for _, path := range []string{"/agents/a", "/agents/broken", "/hello", "/nowhere"} {
		for range 6 {
			resp, err := c.Post("http://"+g.addr+path, "text/plain", strings.NewReader("a body"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body) // its end is what counts
			resp.Body.Close()
		}
	}
}

// metrics asks the administration.
func (g *gateway) metrics(t *testing.T) string {
	t.Helper()
	return body(t, "http://"+g.admin+"/metrics", "text/plain")
}

func body(t *testing.T, url, accept string) string {
	t.Helper()
	b, status, err := fetch(t.Context(), url, accept)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %v\n%s", url, status, err, b)
	}
	return b
}

func fetch(ctx context.Context, url, accept string) (string, int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Accept", accept)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := c.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), resp.StatusCode, err
}

// until asks again and again until ok, for at most two minutes.
func until(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	late := time.After(2 * time.Minute)
	for {
		done, got := ok()
		if done {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("not within two minutes: %s; last: %s", what, got)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
