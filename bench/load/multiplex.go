package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/airside-gateway/airside/bench/internal/hist"
	"github.com/airside-gateway/airside/bench/internal/sample"
	"github.com/airside-gateway/airside/bench/internal/wire"
)

// Windows of HTTP/2 (RFC 9113 section 6.9). This side allows so much that an answer
// never waits for it.
const (
	streamWindow = 16 << 20
	connWindow   = 1 << 30
	firstWindow  = 64<<10 - 1 // before any setting or update
)

// multiplexed asks over HTTP/2: on every connection -m requests are under way at a
// time, and each answer is followed by the next request.
func (c *config) multiplexed(ctx context.Context) (*sample.Sample, error) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	var crew crew
	tallies := make([]tally, c.conns)
	for i := range tallies {
		crew.workers.Go(func() {
			if err := c.converse(ctx, &crew, &tallies[i]); err != nil {
				crew.errors.Add(1)
			}
		})
	}
	s, spent, err := c.measure(ctx, &crew)
	crew.finish(cut)
	if err != nil {
		return nil, err
	}
	var all hist.Histogram
	for i := range tallies {
		all.Merge(&tallies[i].latency)
		s.Total += tallies[i].total
	}
	s.Errors, s.TLS = crew.errors.Load(), crew.security()
	divide(s, spent, all.Count())
	latencies(s, &all)
	return s, nil
}

// converse speaks HTTP/2 on one connection until the crew stops. A connection that
// fails is not replaced: that is an error, and the figures are worth nothing.
func (c *config) converse(ctx context.Context, crew *crew, t *tally) error {
	defer context.AfterFunc(ctx, func() { crew.stopping.Store(true) })()
	l := &line{peer: c.peer, buffer: 2 * wire.MaxFrame}
	defer l.close()
	if err := l.open(ctx); err != nil {
		return err
	}
	crew.note(l.conn)
	defer context.AfterFunc(ctx, hangUp(l))()
	m := &mux{config: c, crew: crew, tally: t, br: l.br, next: 1, calls: make([]call, c.multiplex), send: firstWindow}
	m.greet()
	for {
		m.refill()
		if m.busy == 0 && crew.stopping.Load() {
			return nil
		}
		if _, err := l.conn.Write(m.out); err != nil {
			return err
		}
		m.out = m.out[:0]
		if err := m.take(); err != nil {
			return err
		}
	}
}

// A mux is a connection and the requests that are under way on it.
type mux struct {
	*config
	crew  *crew
	tally *tally
	br    *bufio.Reader
	out   []byte // to be written at once
	calls []call
	busy  int    // of calls
	next  uint32 // stream
	send  int64  // bytes that the other side takes yet
	taken int64  // bytes that came since it was last allowed more
}

// A call is a request under way. The zero call is none.
type call struct {
	stream uint32
	begun  time.Time
	ok     bool // the status is 200
	bytes  int64
}

// greet begins the connection.
func (m *mux) greet() {
	m.out = append(m.out, wire.Preface...)
	m.out = wire.AppendFrame(m.out, wire.Frame{Type: wire.Settings, Payload: wire.AppendSetting(nil, wire.InitialWindow, streamWindow)})
	m.allow(connWindow - firstWindow)
}

func (m *mux) allow(n int64) {
	m.out = wire.AppendFrame(m.out, wire.Frame{Type: wire.WindowUpdate, Payload: binary.BigEndian.AppendUint32(nil, uint32(n))}) //nolint:gosec // at most connWindow
}

// refill sends as many requests as may be under way.
func (m *mux) refill() {
	for i := range m.calls {
		if m.crew.stopping.Load() || m.send < int64(len(m.content)) {
			return
		}
		if m.calls[i].stream == 0 {
			m.calls[i] = call{stream: m.next, begun: time.Now()}
			m.busy++
			m.ask()
		}
	}
}

// ask appends the next request.
func (m *mux) ask() {
	f := wire.Frame{Type: wire.Headers, Flags: wire.EndHeaders, Stream: m.next}
	if len(m.content) == 0 {
		f.Flags |= wire.EndStream
	}
	f.Payload = m.later
	if m.next == 1 {
		f.Payload = m.first
	}
	m.out = wire.AppendFrame(m.out, f)
	if len(m.content) > 0 {
		m.out = wire.AppendFrame(m.out, wire.Frame{Type: wire.Data, Flags: wire.EndStream, Stream: m.next, Payload: m.content})
		m.send -= int64(len(m.content))
	}
	m.next += 2
}

// take reads what has come, at least one frame.
func (m *mux) take() error {
	for {
		f, err := wire.ReadFrame(m.br)
		if err != nil {
			return err
		}
		if err := m.frame(f); err != nil {
			return err
		}
		if m.br.Buffered() == 0 {
			return nil
		}
	}
}

var (
	errGone   = errors.New("the other side ends the connection")
	errWindow = errors.New("the other side takes less on a stream than a request has")
)

func (m *mux) frame(f wire.Frame) error {
	switch f.Type {
	case wire.Headers, wire.Data:
		return m.answer(f)
	case wire.ResetStream:
		m.finish(f.Stream, false)
	case wire.GoAway:
		return errGone
	case wire.Settings:
		if f.Flags&wire.Ack == 0 {
			if v, ok := f.Setting(wire.InitialWindow); ok && v < int64(len(m.content)) {
				return errWindow
			}
			m.out = wire.AppendFrame(m.out, wire.Frame{Type: wire.Settings, Flags: wire.Ack})
		}
	case wire.Ping:
		if f.Flags&wire.Ack == 0 {
			m.out = wire.AppendFrame(m.out, wire.Frame{Type: wire.Ping, Flags: wire.Ack, Payload: f.Payload})
		}
	case wire.WindowUpdate:
		n, err := f.Number()
		if f.Stream == 0 {
			m.send += n
		}
		return err
	}
	return nil
}

// answer takes a part of an answer.
func (m *mux) answer(f wire.Frame) error {
	b, err := f.Body()
	if err != nil {
		return err
	}
	if f.Type == wire.Data {
		m.taken += int64(len(f.Payload))
		if m.taken > connWindow/2 {
			m.allow(m.taken)
			m.taken = 0
		}
	}
	if i := m.find(f.Stream); i >= 0 {
		if f.Type == wire.Headers {
			m.calls[i].ok = m.calls[i].ok || wire.IsOK(b)
		} else {
			m.calls[i].bytes += int64(len(b))
		}
	}
	if f.Flags&wire.EndStream != 0 {
		m.finish(f.Stream, true)
	}
	return nil
}

func (m *mux) find(stream uint32) int {
	for i := range m.calls {
		if m.calls[i].stream == stream {
			return i
		}
	}
	return -1
}

// finish counts a call and makes room for the next.
func (m *mux) finish(stream uint32, whole bool) {
	i := m.find(stream)
	if stream == 0 || i < 0 {
		return
	}
	k := m.calls[i]
	m.calls[i] = call{}
	m.busy--
	if !whole || !k.ok || k.bytes < m.want {
		m.crew.errors.Add(1)
	}
	if !whole {
		return
	}
	m.tally.total++
	if m.crew.measuring.Load() {
		m.tally.latency.Add(time.Since(k.begun))
	}
}

// block makes the header blocks of the requests: the first of a connection, and
// the later ones.
func (c *config) block(target string) {
	fields := []wire.Field{
		{Index: 2, Value: c.method},
		{Index: 6, Value: "https"},
		{Index: 4, Value: target},
		{Index: 1, Value: c.host},
		{Index: 58, Value: agentName},
		{Index: 19, Value: "application/json"},
		{Index: 23, Value: "Bearer " + key},
	}
	if len(c.content) > 0 {
		fields = append(fields, wire.Field{Index: 31, Value: "application/json"}, wire.Field{Index: 28, Value: strconv.Itoa(len(c.content))})
	}
	c.first, c.later = wire.AppendFields(nil, fields, true), wire.AppendFields(nil, fields, false)
}

// checkMultiplex refuses what is not done over HTTP/2.
func (c *config) checkMultiplex() error {
	if c.multiplex > 0 && (c.mode != "requests" || c.rate > 0 || c.peer.tls == nil) {
		return fmt.Errorf("-m is for requests over https in a closed loop")
	}
	return nil
}
