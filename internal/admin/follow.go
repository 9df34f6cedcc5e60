package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of followers.
const (
	maxFollowers = 16
	followerRoom = 256 // exchanges that may wait for one of them
	heartbeat    = 15 * time.Second
	followWrite  = 10 * time.Second // how long one write may take
)

var errTooMany = errors.New("too many are following")

// followers are told of every exchange.
type followers struct {
	mu   sync.Mutex // serializes changes
	list atomic.Pointer[[]*follower]
}

// A follower takes the exchanges that it wants, or is dropped.
type follower struct {
	want filter
	next chan Exchange
	slow chan struct{} // closed when it did not keep up
	once sync.Once
}

func (f *followers) any() bool {
	l := f.list.Load()
	return l != nil && len(*l) > 0
}

func (f *followers) add(want filter) (*follower, error) {
	n := &follower{want: want, next: make(chan Exchange, followerRoom), slow: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	var now []*follower
	if l := f.list.Load(); l != nil {
		now = slices.Clone(*l)
	}
	if len(now) >= maxFollowers {
		return nil, errTooMany
	}
	now = append(now, n)
	f.list.Store(&now)
	return n, nil
}

func (f *followers) remove(gone *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := slices.DeleteFunc(slices.Clone(*f.list.Load()), func(l *follower) bool { return l == gone })
	f.list.Store(&now)
}

// tell waits for nobody: a follower that has no room left is dropped.
func (f *followers) tell(e *ended, number uint64, mask func(string) string) {
	longest := lengths()
	s := &slot{}
	s.fill(e, number, &longest)
	for _, l := range *f.list.Load() {
		if !l.want.takes(s) {
			continue
		}
		select {
		case l.next <- s.exchange(mask):
		default:
			l.once.Do(func() { close(l.slow) })
		}
	}
}

// follow sends exchanges as they end, as server-sent events, until the client goes away,
// the server ends, or the client does not keep up.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, q *query) {
	l := s.recorder.live.Load()
	if l == nil {
		s.fail(w, &problem{status: http.StatusServiceUnavailable, detail: "nothing is recorded"})
		return
	}
	f, err := l.follow.add(q.filter)
	if err != nil {
		s.fail(w, &problem{status: http.StatusServiceUnavailable, detail: fmt.Sprintf("%d are following already, which is the most", maxFollowers), retry: heartbeat})
		return
	}
	defer l.follow.remove(f)
	out := &stream{w: w, control: http.NewResponseController(w)}
	out.err = out.control.SetReadDeadline(time.Time{}) // the time for the request is over before the stream is
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for out.write(": following\n\n"); out.err == nil; {
		select {
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		case <-f.slow:
			out.write("event: dropped\ndata: {\"why\":\"the stream was not read fast enough\"}\n\n")
			return
		case e := <-f.next:
			out.event(&e)
		case <-beat.C:
			out.write(": still here\n\n")
		}
	}
}

// A stream writes events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (s *stream) event(e *Exchange) {
	b, err := json.Marshal(e)
	if err != nil {
		s.err = err
		return
	}
	s.write(fmt.Sprintf("id: %d\nevent: exchange\ndata: %s\n\n", e.Number, b))
}

func (s *stream) write(text string) {
	if s.err != nil {
		return
	}
	s.err = s.control.SetWriteDeadline(time.Now().Add(followWrite))
	if s.err == nil {
		_, s.err = s.w.Write([]byte(text))
	}
	if s.err == nil {
		s.err = s.control.Flush()
	}
}
