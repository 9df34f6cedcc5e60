package clinic

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAgentsAreThreeAndAreFoundByName(t *testing.T) {
	var names []string
	for _, a := range Agents() {
		names = append(names, a.Name)
		if got, err := AgentNamed(a.Name); err != nil || got.Name != a.Name || got.Handler == nil {
			t.Errorf("%s: got %v, %v", a.Name, got, err)
		}
	}
	if want := []string{"records", "symptoms", "treatment"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if _, err := AgentNamed("nobody"); err == nil || !strings.Contains(err.Error(), `"records" "symptoms" "treatment"`) {
		t.Errorf("an unknown name: got %v, want the names there are", err)
	}
}

// A request that is under way when the agent is told to stop gets its answer.
func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	a := Agent{Name: "slow", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, ln) }()
	answered := make(chan string, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		answered <- get(t.Context(), client, "http://"+ln.Addr().String())
	}()
	<-entered
	stop()
	close(release)
	if got := <-answered; got != "done" {
		t.Errorf("got %q, want %q", got, "done")
	}
	if err := <-served; err != nil {
		t.Errorf("an orderly end: %v", err)
	}
}

func get(ctx context.Context, client *http.Client, url string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// The command lines are for a shell: quotes are paired, and no mark is left over.
func TestCurlsAreShellCommands(t *testing.T) {
	curls := Curls("http://127.0.0.1:8080", "https://127.0.0.1:8443")
	if len(curls) != 5 {
		t.Errorf("got %d, want 5", len(curls))
	}
	for _, c := range curls {
		if !strings.HasPrefix(c.Command, "curl ") || strings.Contains(c.Command, "\n") {
			t.Errorf("%s: not one line that begins with curl: %s", c.Title, c.Command)
		}
		for _, mark := range []string{"DOCTOR", "NURSE", "HTTP"} {
			if strings.Contains(c.Command, mark) {
				t.Errorf("%s: %s was not filled in: %s", c.Title, mark, c.Command)
			}
		}
		sh, err := exec.LookPath("sh")
		if err != nil {
			continue // no shell, nothing to ask
		}
		if out, err := exec.CommandContext(t.Context(), sh, "-n", "-c", c.Command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c.Title, err, out)
		}
	}
}
