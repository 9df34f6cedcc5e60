package cmd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/term"
)

// A console is a pseudo terminal with the program in front of it.
type console struct {
	t              *testing.T
	master, client *os.File
	before         *term.State
	program        *exec.Cmd

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{} // something was written
}

func control(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// openConsole starts the program at a pseudo terminal of 100 by 20.
func openConsole(t *testing.T, args ...string) *console {
	t.Helper()
	c := &console{t: t, more: make(chan struct{}, 1)}
	var err error
	if c.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	var unlock, number int32
	if err := control(c.master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)); err != nil {
		t.Fatal(err)
	}
	if err := control(c.master, syscall.TIOCGPTN, unsafe.Pointer(&number)); err != nil {
		t.Fatal(err)
	}
	if c.client, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	c.resize(100, 20)
	if c.before, err = term.GetState(int(c.client.Fd())); err != nil {
		t.Fatal(err)
	}
	c.program = exec.Command("airside", args...)
	c.program.Stdin, c.program.Stdout, c.program.Stderr = c.client, c.client, c.client
	c.program.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", tokenEnv+"="+adminToken)
	c.program.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.program.Start(); err != nil {
		t.Fatal(err)
	}
	go c.read()
	t.Cleanup(func() {
		_ = c.program.Process.Kill() // it has ended, unless the test has failed
		c.client.Close()
		c.master.Close()
	})
	return c
}

func (c *console) resize(width, height uint16) {
	c.t.Helper()
	size := [4]uint16{height, width}
	if err := control(c.master, syscall.TIOCSWINSZ, unsafe.Pointer(&size)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) read() {
	buf := make([]byte, 4096)
	for {
		n, err := c.master.Read(buf)
		c.mu.Lock()
		c.out.Write(buf[:n])
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// await waits until text has been written since the last await.
func (c *console) await(text string) {
	c.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		out := c.out.String()
		if i := strings.Index(out, text); i >= 0 {
			c.out.Next(i + len(text))
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-limit:
			c.t.Fatalf("%q was not written, but %q", text, out)
		}
	}
}

func (c *console) press(keys string) {
	c.t.Helper()
	if _, err := c.master.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

// ended waits for the end of the program, which must leave the terminal as it was.
func (c *console) ended() {
	c.t.Helper()
	c.await(leaveScreen)
	if err := c.program.Wait(); err != nil {
		c.t.Errorf("the program ended by %v", err)
	}
	after, err := term.GetState(int(c.client.Fd()))
	if err != nil {
		c.t.Fatal(err)
	}
	if !reflect.DeepEqual(after, c.before) {
		c.t.Errorf("the terminal is not as it was: %+v, was %+v", after, c.before)
	}
}

// TestTopAtTerminal proves, at a real terminal, that frames are painted, keys and a new
// size are heard at once, and that the terminal is given back by a key and by a signal.
func TestTopAtTerminal(t *testing.T) {
	address := gateway(t)
	const slow = "1h" // whatever is painted after the first frame has another cause
	c := openConsole(t, "top", "--address", address, "--interval", slow)
	c.await(enterScreen)
	c.await("s sort by errors")
	c.press("s")
	c.await("ROUTE by errors")
	c.press("p")
	c.await("PAUSED")
	c.resize(30, 9)
	c.await("\r\ndown" + strings.Repeat(" ", 26) + "\x1b[K") // as wide as the terminal is now
	c.await("q quit  p pause  s sort by p99")
	c.press("q")
	c.ended()

	c = openConsole(t, "top", "--address", address, "--interval", "100ms")
	c.await(" requests/s   ")
	if err := c.program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.ended()
}
