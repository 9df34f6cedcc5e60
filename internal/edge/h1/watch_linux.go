package h1

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// A Watcher notices that peers go away while nobody reads their connections: when they
// shut their sending side, or reset. It costs one system call a connection, and
// nothing a request: connections are registered, edge-triggered and for nothing else,
// in an epoll set, which itself waits in the poller of the runtime.
type Watcher struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{}

	mu    sync.Mutex
	next  int32
	conns map[int32]func(reset bool)
}

// NewWatcher returns a watcher. It must be closed.
func NewWatcher() (*Watcher, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd) // SetNonblock has said what is wrong
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), conns: map[int32]func(bool){}}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		_ = w.file.Close() // as above
		return nil, err
	}
	go w.run()
	return w, nil
}

// Close ends the watch.
func (w *Watcher) Close() error {
	err := w.file.Close()
	<-w.done
	return err
}

const (
	edgeTriggered = 1 << 31
	reset         = syscall.EPOLLHUP | syscall.EPOLLERR
)

// Add has gone called, from another goroutine, when the peer of c goes away, at most a
// few times. It reports whether c can be watched. [Watcher.Remove] must come before c
// is closed.
func (w *Watcher) Add(c net.Conn, gone func(reset bool)) (id int32, ok bool) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, false
	}
	w.mu.Lock()
	for id = w.next; w.conns[id] != nil; {
		id++
	}
	w.next = id + 1
	w.conns[id] = gone
	w.mu.Unlock()
	ok = false
	_ = raw.Control(func(fd uintptr) {
		ok = w.control(syscall.EPOLL_CTL_ADD, fd, syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edgeTriggered, Fd: id})
	})
	if !ok {
		w.Remove(id)
	}
	return id, ok
}

func (w *Watcher) control(op int, fd uintptr, ev syscall.EpollEvent) (ok bool) {
	err := w.raw.Control(func(set uintptr) {
		ok = syscall.EpollCtl(int(set), op, int(fd), &ev) == nil
	})
	return ok && err == nil
}

// Remove ends the watch over a connection. The kernel forgets it when it is closed.
func (w *Watcher) Remove(id int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, id)
}

func (w *Watcher) run() {
	defer close(w.done)
	events := make([]syscall.EpollEvent, 64)
	_ = w.raw.Read(func(set uintptr) bool { // ends when the set is closed
		for {
			n, err := syscall.EpollWait(int(set), events, 0)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				return true
			}
			if n == 0 {
				return false
			}
			for _, e := range events[:n] {
				w.tell(e)
			}
		}
	})
}

func (w *Watcher) tell(e syscall.EpollEvent) {
	w.mu.Lock()
	gone := w.conns[e.Fd]
	w.mu.Unlock()
	if gone != nil {
		gone(e.Events&reset != 0)
	}
}
