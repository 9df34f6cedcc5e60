package e2e

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/airside-gateway/airside/examples/clinic"
)

// The demo prints five command lines that work as they are printed, and one that shows
// how its gateway is; it ends on Ctrl-C.
func TestDemo(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("the demo is shown with curl, which is not installed: apt-get install curl")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "demo")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var lines []string
	var state string // the command line that shows the state of the gateway
	s := bufio.NewScanner(out)
	for s.Scan() && !strings.Contains(s.Text(), "Ctrl-C") {
		if strings.HasPrefix(s.Text(), "curl ") {
			lines = append(lines, s.Text())
		}
		if strings.HasPrefix(s.Text(), bin+" status") {
			state = s.Text()
		}
	}
	want := clinic.Curls("", "")
	if len(lines) != 5 || len(want) != 5 {
		t.Fatalf("%d command lines were printed, want 5: %q", len(lines), lines)
	}
	for i, line := range lines {
		status := strings.Replace(line, "curl ", "curl -o /dev/null -w '%{http_code}' ", 1)
		got, err := exec.Command("sh", "-c", status).CombinedOutput()
		if err != nil || !bytes.HasSuffix(got, []byte{byte('0' + want[i].WantStatus/100), '0', byte('0' + want[i].WantStatus%10)}) {
			t.Errorf("%s\ngot %s, %v, want %d", line, got, err, want[i].WantStatus)
		}
	}
	if got, err := exec.Command("sh", "-c", state).CombinedOutput(); err != nil || !bytes.Contains(got, []byte("requests   ")) {
		t.Errorf("%q: %v\n%s", state, err, got)
	}
	cmd.Process.Signal(syscall.SIGINT)
	for s.Scan() {
		continue
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the demo did not end")
	}
	if n := strings.Count(log.String(), " → "); n < 4 {
		t.Errorf("%d exchanges were shown, want at least 4:\n%s", n, log.String())
	}
}
