package admin

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// An Exchange is one that has ended, as operators see it. Texts are cut at fixed lengths.
type Exchange struct {
	Number    uint64    `json:"number" doc:"Exchanges are numbered in the order in which they ended."`
	ID        string    `json:"id" doc:"The request id, also sent on as X-Request-Id."`
	At        time.Time `json:"at" doc:"When the head of the request had come."`
	Seconds   float64   `json:"seconds" doc:"From the request head to the last byte, in seconds."`
	Method    string    `json:"method" doc:"As the client sent it."`
	Host      string    `json:"host" doc:"As the client sent it."`
	Path      string    `json:"path" doc:"As the client sent it, without the query."`
	Status    int       `json:"status" doc:"As sent to the client; 0 if nothing was sent."`
	Failed    bool      `json:"failed" doc:"Whether it ended in a failure that was not the client's: 5xx, or an answer cut short."`
	Received  int64     `json:"received" doc:"Bytes of the request body."`
	Sent      int64     `json:"sent" doc:"Bytes of the response body."`
	HTTP      int       `json:"http" doc:"Version of HTTP that the client speaks: 1, 2 or 3."`
	Tries     int       `json:"tries" doc:"How often an upstream was asked because an earlier try failed, plus one."`
	Client    string    `json:"client" doc:"Address of the client."`
	Route     string    `json:"route" doc:"Empty if none matched."`
	Upstream  string    `json:"upstream" doc:"Empty if none was asked."`
	Endpoint  string    `json:"endpoint" doc:"Address of the endpoint that was asked last."`
	Caller    string    `json:"caller" doc:"Who asked; empty if not known."`
	Operation string    `json:"operation" doc:"What was asked for; the method for plain HTTP."`
	Target    string    `json:"target" doc:"Model, tool or skill."`
	Code      string    `json:"code" doc:"Code of the error; empty if there was none."`
	Error     string    `json:"error" doc:"What went wrong, for operators; empty if nothing did."`
}

// The texts of an exchange, in the order in which a slot holds them, and how long each
// may be, in bytes.
const (
	textID = iota
	textMethod
	textHost
	textPath
	textClient
	textRoute
	textUpstream
	textEndpoint
	textCaller
	textOperation
	textTarget
	textCode
	textError
	texts
)

// longest is the length of each text at most.
type longest [texts]uint16

func lengths() longest {
	return longest{
		textID: 40, textMethod: 16, textHost: 80, textPath: 192, textClient: 46, textRoute: 64, textUpstream: 64,
		textEndpoint: 64, textCaller: 64, textOperation: 32, textTarget: 64, textCode: 24, textError: 240,
	}
}

// slotTexts is the sum of the lengths.
const slotTexts = 990

// ended is an exchange at its end. It lives for the call of [Recorder.Ended] only.
type ended struct {
	x    *airside.Exchange
	o    *airside.Outcome
	s    *edge.Seen
	code airside.Code
	err  string // masked
}

// explain says what went wrong.
func (e *ended) explain(mask func(string) string) {
	e.code = airside.AsError(e.o.Err).Code
	e.err = mask(e.o.Err.Error())
}

// A slot holds one exchange in memory of its own, which is used again.
type slot struct {
	mu     sync.Mutex
	number uint64 // of the exchange, from 1; 0 if there is none
	at     time.Time
	took   time.Duration
	in     int64
	out    int64
	status int
	major  int
	tries  int
	failed bool
	ends   [texts]uint16 // where each text ends
	text   [slotTexts]byte
}

// fill copies what e holds.
func (s *slot) fill(e *ended, number uint64, max *longest) {
	x, o, seen := e.x, e.o, e.s
	s.number, s.at, s.took, s.failed = number, seen.Start, o.Duration, o.Failed()
	s.in, s.out, s.status, s.major, s.tries = o.Received, o.Sent, o.Status, seen.Major, len(x.Failures)+1
	n := 0
	for i, text := range [texts]string{
		textID: x.ID, textMethod: seen.Method, textHost: seen.Host, textPath: seen.Path, textClient: x.Client.Addr,
		textRoute: x.Route, textUpstream: x.Upstream, textEndpoint: x.Endpoint, textCaller: x.Caller.ID,
		textOperation: x.Call.Operation, textTarget: x.Call.Target, textCode: string(e.code), textError: e.err,
	} {
		if len(text) > int(max[i]) {
			text = text[:max[i]]
		}
		n += copy(s.text[n:], text)
		s.ends[i] = uint16(n) //nolint:gosec // at most slotTexts
	}
}

// part is one of the texts.
func (s *slot) part(i int) []byte {
	begin := uint16(0)
	if i > 0 {
		begin = s.ends[i-1]
	}
	return s.text[begin:s.ends[i]]
}

// exchange is what s holds, of which mask takes out what nobody is to see.
func (s *slot) exchange(mask func(string) string) Exchange {
	t := func(i int) string { return mask(strings.ToValidUTF8(string(s.part(i)), "\uFFFD")) }
	return Exchange{
		Number: s.number, At: s.at.Round(0).UTC(), Seconds: s.took.Seconds(), Status: s.status, Failed: s.failed, Received: s.in, Sent: s.out,
		HTTP: s.major, Tries: s.tries, ID: t(textID), Method: t(textMethod), Host: t(textHost), Path: t(textPath), Client: t(textClient),
		Route: t(textRoute), Upstream: t(textUpstream), Endpoint: t(textEndpoint), Caller: t(textCaller), Operation: t(textOperation),
		Target: t(textTarget), Code: t(textCode), Error: t(textError),
	}
}

// A ring keeps the newest exchanges. To write costs one counter that all share and one
// lock that only readers of the same slot contend for: a writer never waits.
type ring struct {
	taken   atomic.Uint64 // numbers that were given
	missed  atomic.Uint64 // exchanges that were left out: their slot was being read, or there were too many
	longest longest
	slots   []slot
}

func newRing(n int) *ring { return &ring{slots: make([]slot, n), longest: lengths()} }

// put gives e its number.
func (r *ring) put(e *ended) uint64 {
	number := r.taken.Add(1)
	if len(r.slots) == 0 {
		return number
	}
	s := &r.slots[number%uint64(len(r.slots))]
	if !s.mu.TryLock() {
		r.missed.Add(1)
		return number
	}
	s.fill(e, number, &r.longest)
	s.mu.Unlock()
	return number
}

// newest returns up to limit exchanges that want takes, newest first.
func (r *ring) newest(want *filter, limit int, mask func(string) string) []Exchange {
	out := []Exchange{}
	last := r.taken.Load()
	for i := range uint64(len(r.slots)) {
		if i >= last || len(out) >= limit || last-i <= want.after {
			break
		}
		if e, ok := r.slots[(last-i)%uint64(len(r.slots))].read(last-i, want, mask); ok {
			out = append(out, e)
		}
	}
	return out
}

// read returns what s holds if it is the exchange of that number, and want takes it.
func (s *slot) read(number uint64, want *filter, mask func(string) string) (Exchange, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.number != number || !want.takes(s) {
		return Exchange{}, false
	}
	return s.exchange(mask), true
}
