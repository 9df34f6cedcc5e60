package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A terminal is in raw mode, and shows its other screen, until it is restored.
type terminal struct {
	out, in *os.File
	before  *term.State
	resizes chan os.Signal
	once    sync.Once
}

// What is written to a terminal: the codes are those of ECMA-48 and of xterm.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, long lines are cut
	leaveScreen = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// openTerminal prepares the terminal that out is.
func openTerminal(out *os.File) (*terminal, error) {
	in, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("top needs a terminal to read keys from (or use --once or --json): %w", err)
	}
	t := &terminal{out: out, in: in, resizes: make(chan os.Signal, 1)}
	err = t.control(func(fd int) (err error) {
		t.before, err = term.MakeRaw(fd)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the terminal: %w", err), in.Close())
	}
	notifyResize(t.resizes)
	if _, err := out.WriteString(enterScreen); err != nil {
		t.restore()
		return nil, err
	}
	return t, nil
}

// control calls f with the descriptor of the terminal, which stays able to be woken.
func (t *terminal) control(f func(fd int) error) error {
	raw, err := t.in.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = raw.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return errors.Join(err, ferr)
}

// restore gives the terminal back as it was. It may be called more than once.
func (t *terminal) restore() {
	t.once.Do(func() {
		signal.Stop(t.resizes)
		_, _ = t.out.WriteString(leaveScreen) // if the terminal is gone, there is nothing to restore
		_ = t.control(func(fd int) error { return term.Restore(fd, t.before) })
		_ = t.in.Close()
	})
}

// guard restores the terminal before a panic of its goroutine ends the program, so that
// the panic can be read.
func (t *terminal) guard() {
	if p := recover(); p != nil {
		t.restore()
		panic(p)
	}
}

// wake ends the wait for keys. It reports whether the system can do so.
func (t *terminal) wake() bool { return t.in.SetReadDeadline(time.Unix(1, 0)) == nil }

// keys sends the keys that are pressed until ctx ends or the terminal is gone, which is a
// wish to quit.
func (t *terminal) keys(ctx context.Context, out chan<- key) {
	buf := make([]byte, 128)
	for {
		n, err := t.in.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			var k key
			k, rest = nextKey(rest)
			if !send(ctx, out, k) {
				return
			}
		}
		if err != nil {
			send(ctx, out, keyQuit)
			return
		}
	}
}

func send(ctx context.Context, out chan<- key, k key) bool {
	select {
	case out <- k:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *terminal) size() (width, height int) {
	width, height = 80, 24
	_ = t.control(func(fd int) error { // where it is not known, it is as it was in 1978
		w, h, err := term.GetSize(fd)
		if err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
		return err
	})
	return width, height
}

func (t *terminal) resized() <-chan os.Signal { return t.resizes }

// paint writes a frame over the one before.
func (t *terminal) paint(lines []string) error {
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	b.WriteString(strings.Join(lines, "\x1b[K\r\n"))
	b.WriteString("\x1b[K\x1b[J")
	_, err := t.out.Write(b.Bytes())
	return err
}
