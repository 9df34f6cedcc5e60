package server

import (
	"encoding/binary"
	"time"
)

// settings takes SETTINGS, RFC 9113 section 6.5.
func (c *conn) settings(f *frame) error {
	switch {
	case f.stream != 0:
		return fail(codeProtocol, "SETTINGS on a stream")
	case f.has(flagAck) && len(f.payload) > 0, len(f.payload)%settingSize != 0:
		return fail(codeFrameSize, "SETTINGS of a wrong length")
	}
	c.greeted = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		if c.unacked == 0 {
			return fail(codeProtocol, "an acknowledgement of SETTINGS that were not sent")
		}
		c.unacked--
		return nil
	}
	for p := f.payload; len(p) > 0; p = p[settingSize:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.out = appendHead(c.room(), 0, frameSettings, flagAck, 0)
	return nil
}

func (c *conn) setting(id uint16, v uint32) error {
	switch id {
	case settingEnablePush:
		if v > 1 {
			return fail(codeProtocol, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")
		}
	case settingInitialWindow:
		if v > maxWindow {
			return fail(codeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
		}
		return c.rewindow(int64(v))
	case settingMaxFrame:
		if v < maxFrame || v > frameLimit {
			return fail(codeProtocol, "SETTINGS_MAX_FRAME_SIZE is out of range")
		}
	}
	return nil
}

// rewindow changes the window of all streams, RFC 9113 section 6.9.2.
func (c *conn) rewindow(v int64) error {
	by := v - c.fresh
	c.fresh = v
	for _, st := range c.streams {
		if st.window += by; st.window > maxWindow {
			return fail(codeFlowControl, "a stream's window is too large")
		}
	}
	c.wakeAll()
	return nil
}

// ping takes a PING, RFC 9113 section 6.7.
func (c *conn) ping(f *frame) error {
	switch {
	case f.stream != 0:
		return fail(codeProtocol, "PING on a stream")
	case len(f.payload) != 8:
		return fail(codeFrameSize, "PING of a wrong length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.has(flagAck) {
		c.out = appendPing(c.room(), flagAck, string(f.payload))
		return nil
	}
	if string(f.payload) == drainPing && c.lastBy > 0 {
		c.lastCall()
	}
	return nil
}

// windowUpdate takes a WINDOW_UPDATE, RFC 9113 section 6.9.
func (c *conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return fail(codeFrameSize, "WINDOW_UPDATE of a wrong length")
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & streamMask)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if c.window += n; n == 0 {
			return fail(codeProtocol, "WINDOW_UPDATE of nothing")
		}
		if c.window > maxWindow {
			return fail(codeFlowControl, "the connection's window is too large")
		}
		c.wakeAll()
		return nil
	}
	st := c.streams[f.stream]
	switch {
	case c.idle(f.stream):
		return fail(codeProtocol, "WINDOW_UPDATE on an idle stream")
	case st == nil:
	case n == 0:
		c.reset(st, f.stream, codeProtocol)
	case st.window+n > maxWindow:
		c.reset(st, f.stream, codeFlowControl)
	default:
		st.window += n
		st.wakeWriter()
	}
	return nil
}

// idle reports whether the client has not opened a stream yet.
func (c *conn) idle(id uint32) bool { return id%2 == 0 || id > c.top && !c.over }

// rstStream takes a RST_STREAM, RFC 9113 section 6.4.
func (c *conn) rstStream(f *frame) error {
	if len(f.payload) != 4 {
		return fail(codeFrameSize, "RST_STREAM of a wrong length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle(f.stream) {
		return fail(codeProtocol, "RST_STREAM on an idle stream")
	}
	if st := c.streams[f.stream]; st != nil {
		c.abandon(st, errReset)
	}
	return nil
}

// priority takes a PRIORITY, which says nothing any more, RFC 9113 section 6.3.
func (c *conn) priority(f *frame) error {
	switch {
	case f.stream == 0:
		return fail(codeProtocol, "PRIORITY on no stream")
	case len(f.payload) == 5 && binary.BigEndian.Uint32(f.payload)&streamMask != f.stream:
		return nil
	}
	why := codeProtocol
	if len(f.payload) != 5 {
		why = codeFrameSize
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(c.streams[f.stream], f.stream, why)
	return nil
}

// goAway takes a GOAWAY, which is about streams that we would open.
func goAway(f *frame) error {
	switch {
	case f.stream != 0:
		return fail(codeProtocol, "GOAWAY on a stream")
	case len(f.payload) < 8:
		return fail(codeFrameSize, "GOAWAY of a wrong length")
	}
	return nil
}

// drainTime is how long a client that was told to go may take to notice.
const drainTime = 500 * time.Millisecond

// drain tells the client that the connection will end. Requests that are on their way
// are taken still, until it must have heard.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dismiss()
}

func (c *conn) dismiss() {
	if c.goingAway || c.dead {
		return
	}
	c.goingAway = true
	c.lastBy = c.server.clock.After(drainTime, 0)
	c.out = appendGoAway(c.room(), maxStreamID, codeNo, "")
	c.out = appendPing(c.out, 0, drainPing)
	c.send()
}

// lastCall takes no more streams, and says which was the last that was taken.
func (c *conn) lastCall() {
	c.lastBy = 0
	if c.over || c.dead {
		return
	}
	c.goingAway, c.over, c.last = true, true, c.top
	c.out = appendGoAway(c.room(), c.top, codeNo, "")
	c.send()
	c.part()
}

// part has the connection closed soon, when the last stream has ended: the client is
// to do that, which has heard of it.
func (c *conn) part() {
	if c.over && len(c.streams) == 0 && c.closeBy == 0 {
		c.closeBy = c.server.clock.After(linger, c.server.tick)
	}
}
