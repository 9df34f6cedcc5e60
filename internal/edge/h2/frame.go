package h2

import "encoding/binary"

// Types of frames, RFC 9113 section 6, and RFC 9218 section 7.1.
const (
	frameData           = 0x0
	frameHeaders        = 0x1
	framePriority       = 0x2
	frameRSTStream      = 0x3
	frameSettings       = 0x4
	framePushPromise    = 0x5
	framePing           = 0x6
	frameGoAway         = 0x7
	frameWindowUpdate   = 0x8
	frameContinuation   = 0x9
	framePriorityUpdate = 0x10
)

// Flags of frames.
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
)

// Error codes, RFC 9113 section 7.
const (
	codeNo       = 0x0
	codeInternal = 0x2
	codeCancel   = 0x8
	codeCalm     = 0xb
)

const (
	headSize = 9 // of a frame, RFC 9113 section 4.1
	leadSize = 4
	// prefaceSize is the length of the 24 bytes that a client begins with, RFC 9113 section 3.4.
	prefaceSize = len(Preface)
)

// Preface is what a client of HTTP/2 sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A frame is what a walker knows of a frame: its head, and the first bytes of its
// payload where they matter.
type frame struct {
	length uint32
	typ    byte
	flags  byte
	stream uint32
	lead   [leadSize]byte // of the payload: pad length, error code
}

// name is the frame's name in the standard, for messages.
func (f *frame) name() string {
	switch f.typ {
	case frameData:
		return "DATA"
	case frameHeaders:
		return "HEADERS"
	case framePriority:
		return "PRIORITY"
	case frameRSTStream:
		return "RST_STREAM"
	case frameSettings:
		return "SETTINGS"
	case framePushPromise:
		return "PUSH_PROMISE"
	case framePing:
		return "PING"
	case frameGoAway:
		return "GOAWAY"
	case frameWindowUpdate:
		return "WINDOW_UPDATE"
	case frameContinuation:
		return "CONTINUATION"
	case framePriorityUpdate:
		return "PRIORITY_UPDATE"
	}
	return "unknown"
}

// content is how many bytes of a DATA frame are data, not padding.
func (f *frame) content() uint32 {
	if f.flags&flagPadded == 0 {
		return f.length
	}
	pad := uint32(f.lead[0]) + 1
	if pad > f.length {
		return 0
	}
	return f.length - pad
}

// code is the error code of a RST_STREAM frame.
func (f *frame) code() uint32 { return binary.BigEndian.Uint32(f.lead[:]) }

// wants is how many bytes of the payload belong to what is known of the frame.
func (f *frame) wants() uint32 {
	switch {
	case f.typ == frameRSTStream:
		return min(leadSize, f.length)
	case f.typ == frameData && f.flags&flagPadded != 0:
		return min(1, f.length)
	}
	return 0
}

// A walker follows the frames in a stream of bytes, in pieces of any size. It
// copies no more than their heads.
type walker struct {
	frame

	skip uint32 // bytes that belong to no frame: the preface
	head [headSize]byte
	have uint32 // bytes of head and lead
	left uint32 // bytes of the payload that are yet to come, once the frame is known
	open bool   // the frame is known, and has not ended
}

// A step is what a walker has come to.
type step int

const (
	inside step = iota // within something: all was taken
	begun              // a frame is known
	ended              // its payload has ended
)

// next takes from p up to the next step, and returns what is left of p. Every frame
// is begun and then ended; one without (more) payload ends with the next call, even
// if p is empty.
func (w *walker) next(p []byte) (rest []byte, s step) {
	if w.skip > 0 {
		n := min(w.skip, uint32(len(p))) //nolint:gosec // no read is 4 GiB
		w.skip -= n
		p = p[n:]
	}
	if w.open {
		n := min(w.left, uint32(len(p))) //nolint:gosec // no read is 4 GiB
		w.left -= n
		if w.left > 0 {
			return nil, inside
		}
		w.open, w.have = false, 0
		return p[n:], ended
	}
	if w.have < headSize {
		n := copy(w.head[w.have:], p)
		w.have += uint32(n) //nolint:gosec // 9 at most
		p = p[n:]
		if w.have < headSize {
			return nil, inside
		}
		w.frame = frame{
			length: uint32(w.head[0])<<16 | uint32(w.head[1])<<8 | uint32(w.head[2]),
			typ:    w.head[3], flags: w.head[4],
			stream: binary.BigEndian.Uint32(w.head[5:]) &^ (1 << 31),
		}
	}
	wants, got := w.wants(), w.have-headSize
	n := copy(w.lead[got:wants], p)
	w.have += uint32(n) //nolint:gosec // 4 at most
	p = p[n:]
	if w.have < headSize+wants {
		return nil, inside
	}
	w.open, w.left = true, w.length-wants
	return p, begun
}

// partial reports whether a frame has come in part.
func (w *walker) partial() bool { return w.skip > 0 || w.have > 0 }
