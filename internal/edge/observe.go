package edge

import (
	"time"

	"github.com/airside-gateway/airside"
)

// An Observer is told of every exchange when it has ended, on its goroutine. It must be
// quick, wait for nothing, and keep nothing of what it is given but copies: the memory
// is used again.
type Observer interface {
	Ended(x *airside.Exchange, o *airside.Outcome, s *Seen)
}

// Seen is what the edge knows of an exchange beyond it.
type Seen struct {
	Method, Host, Path string    // as they came; empty if the request could not be read
	Major              int       // version of HTTP that the client speaks: 1, 2 or 3
	Listener           string    // address that the request came by, as configured
	Start              time.Time // when the head of the request had come
}

// tell tells everybody who wants to know of the end of the exchange. A panic of one of
// them is logged, and costs what comes after it; the client has its answer.
func (e *exchange) tell(o *airside.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			_ = e.panicked(p)
		}
	}()
	e.observe(o)
	e.server.access(e, *o)
	e.traced(o)
}

// observe tells the observers.
func (e *exchange) observe(o *airside.Outcome) {
	if len(e.server.Observers) == 0 {
		return
	}
	s := &e.seen
	*s = Seen{Method: e.method, Host: e.host, Path: e.path, Major: e.major, Listener: e.listener.Address, Start: e.start}
	for _, w := range e.server.Observers {
		w.Ended(e.x, o, s)
	}
}
