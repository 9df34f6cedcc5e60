package proc

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("PROC_TEST_BURN") != "" {
		burn()
		return
	}
	goleak.VerifyTestMain(m)
}

// burn uses 50 ms of processor time and then waits to be told to end.
func burn() {
	self := []int{os.Getpid()}
	for CPU(self) < 50*time.Millisecond {
		continue
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	_, _ = os.Stdout.WriteString("burnt\n")
	<-ctx.Done()
}

// said is a writer that tells when something has come.
type said chan struct{}

func (s said) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}

func startBurner(t *testing.T, ctx context.Context, cpu int) *Process { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	out := make(said, 1)
	p, err := Start(ctx, Command{Path: os.Args[0], Env: []string{"PROC_TEST_BURN=1"}, CPU: cpu, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	select {
	case <-out:
	case <-p.Ended():
		t.Fatalf("it ended: %v", p.Wait())
	}
	return p
}

func TestAccountsOfAProcess(t *testing.T) {
	cpus, err := CPUs()
	if err != nil {
		t.Fatal(err)
	}
	last := cpus[len(cpus)-1]
	p := startBurner(t, t.Context(), last)
	pids := p.PIDs()
	if got := CPU(pids); got < 50*time.Millisecond || got > 10*time.Second {
		t.Errorf("processor time: got %v, want at least 50ms", got)
	}
	if user, system := UserSystem(pids); user+system < 30*time.Millisecond {
		t.Errorf("user and system: got %v and %v, want about 50ms together", user, system)
	}
	if rss, pss := Memory(pids); rss < 1000 || pss > rss || pss <= 0 {
		t.Errorf("memory: got %d and %d KiB", rss, pss)
	}
	if Switches(pids) == 0 {
		t.Error("no context switches")
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pids[0]) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if want := "Cpus_allowed_list:\t" + strconv.Itoa(last) + "\n"; !strings.Contains(string(status), want) {
		t.Errorf("it is not pinned: want %q in\n%s", want, status)
	}
	if now, err := CPUs(); err != nil || !slices.Equal(now, cpus) {
		t.Errorf("starting it pinned ourselves: %v, want %v (%v)", now, cpus, err)
	}
}

func TestStopAndContextEndTheProcess(t *testing.T) {
	cpus, err := CPUs()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, tt := range []struct {
		name string
		end  func(*Process)
	}{
		{"stop", (*Process).Stop},
		{"context", func(p *Process) { cancel(); _ = p.Wait() }},
	} {
		p := startBurner(t, ctx, cpus[0])
		pid := p.PIDs()[0]
		tt.end(p)
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("%s: process %d is still there", tt.name, pid)
		}
		p.Stop() // again does no harm
	}
}

func TestStartFailsForWhatIsNotThere(t *testing.T) {
	if p, err := Start(t.Context(), Command{Path: "/nonexistent"}); err == nil {
		p.Stop()
		t.Error("it started")
	}
}

func TestTreeHasTheDescendants(t *testing.T) {
	cpus, err := CPUs()
	if err != nil {
		t.Fatal(err)
	}
	p := startBurner(t, t.Context(), cpus[0])
	if got := Tree(os.Getpid()); !slices.Contains(got, os.Getpid()) || !slices.Contains(got, p.PIDs()[0]) {
		t.Errorf("got %v, want %d and %d in it", got, os.Getpid(), p.PIDs()[0])
	}
}

func TestParseStat(t *testing.T) {
	user, system := parseStat([]byte("42 (a ) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 37 0 0 20 0 1 0 1 1 1\n"))
	if user != 2500*time.Millisecond || system != 370*time.Millisecond {
		t.Errorf("got %v and %v, want 2.5s and 370ms", user, system)
	}
	if user, system := parseStat([]byte("42 (x) S 1")); user != 0 || system != 0 {
		t.Errorf("of a short line: got %v and %v", user, system)
	}
}
