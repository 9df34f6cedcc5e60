package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a process has to end by itself once it is told to.
const patience = 3 * time.Second

// A Command is a process to start.
type Command struct {
	Path string
	Args []string
	Env  []string // added to the environment
	CPU  int      // the processor it is pinned to
	Nice int      // -20 to 19; not applied where the user may not
	Log  *os.File // its standard output and error; nil: dropped
	Out  io.Writer
}

// A Process is one that was started, and all it started itself.
type Process struct {
	Started time.Time
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // once ended
}

// Start starts c. The process ends when ctx ends, when [Process.Stop] is called,
// and when this program dies, however it dies.
//
// It has a session of its own, so that Ctrl-C at the terminal does not reach it,
// and a scheduling group of its own, see [Favour].
//
// The new process inherits the processor and the priority of the thread that
// forks it, so that it never runs a single instruction elsewhere.
func Start(ctx context.Context, c Command) (*Process, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if c.Log != nil {
		cmd.Stdout, cmd.Stderr = c.Log, c.Log
	}
	if c.Out != nil {
		cmd.Stdout = c.Out
	}
	p := &Process{cmd: cmd, cancel: cancel, ended: make(chan struct{})}
	if err := p.fork(c); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	go p.wait()
	return p, nil
}

// fork starts the process from a thread that is pinned for as long, and is what
// it was before afterwards. The thread must not end, or Pdeathsig would fire: it
// goes back to the runtime, which keeps it.
func (p *Process) fork(c Command) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, pinned unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the affinity: %w", err)
	}
	pinned.Set(c.CPU)
	if err := unix.SchedSetaffinity(0, &pinned); err != nil {
		return fmt.Errorf("pin to processor %d: %w", c.CPU, err)
	}
	nice := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), c.Nice) == nil
	p.Started = time.Now()
	err := p.cmd.Start()
	if nice {
		err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 0))
	}
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

func (p *Process) wait() {
	defer close(p.ended)
	p.err = p.cmd.Wait()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // what it may have left of its group
	p.cancel()
}

// PIDs lists the process and all its descendants.
func (p *Process) PIDs() []int { return Tree(p.cmd.Process.Pid) }

// Ended is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the process to end by itself and returns how it did.
func (p *Process) Wait() error {
	<-p.ended
	return p.err
}

// Stop tells the process to end, and kills it if it does not within three
// seconds. It returns when the process is gone.
func (p *Process) Stop() {
	p.cancel()
	<-p.ended
}

// Favour puts the scheduling groups of the processes, which are those of their
// sessions, before those of anyone else (sched(7), autogroup). Where that is not
// allowed nothing happens.
func Favour(pids []int) {
	for _, pid := range pids {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte("-20"), 0)
	}
}

// CPUs lists the processors that this program may use.
func CPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read the affinity: %w", err)
	}
	var list []int
	for i := range 64 * len(set) {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// PinSelf pins every thread of this program, and those it will start, to cpu.
func PinSelf(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin thread %d: %w", tid, err)
		}
	}
	return nil
}

// RaiseFiles raises the limit of open files as far as it goes, for this program
// and those it starts, and returns it.
func RaiseFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	l.Cur = l.Max
	// Package syscall, not unix: only then do processes that are started inherit it.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise the limit of open files: %w", err)
	}
	return int(min(l.Cur, 1<<20)), nil
}
