package server

import "encoding/binary"

// Types of frames, RFC 9113 section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// A code says why a stream or a connection ends, RFC 9113 section 7.
type code uint32

const (
	codeNo          code = 0x0
	codeProtocol    code = 0x1
	codeInternal    code = 0x2
	codeFlowControl code = 0x3
	codeClosed      code = 0x5
	codeFrameSize   code = 0x6
	codeRefused     code = 0x7
	codeCancel      code = 0x8
	codeCompression code = 0x9
)

// Settings, RFC 9113 section 6.5.2.
const (
	settingEnablePush    = 0x2
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6
)

const (
	headSize    = 9                 // of a frame, RFC 9113 section 4.1
	settingSize = 6                 //
	maxFrame    = 16 << 10          // bytes of a payload that we take, and send at most
	firstWindow = 64<<10 - 1        // before any setting or update
	maxWindow   = 1<<31 - 1         //
	maxStreamID = 1<<31 - 1         //
	frameLimit  = 1<<24 - 1         // the largest that a client may say that it takes
	streamMask  = uint32(1<<31 - 1) // without the reserved bit
)

// The payloads of PINGs that we send: one asks for a sign of life, the other ends the
// time in which a client that was told to go may have sent requests.
const (
	probePing = "airside?"
	drainPing = "airside!"
)

// A frame is one that came. Its payload is valid until the next read.
type frame struct {
	typ     byte
	flags   byte
	stream  uint32
	payload []byte
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// appendHead appends the head of a frame of n bytes.
func appendHead(b []byte, n int, typ, flags byte, stream uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(n)<<8|uint32(typ)) //nolint:gosec // 24 bits
	return binary.BigEndian.AppendUint32(append(b, flags), stream)
}

func appendReset(b []byte, stream uint32, why code) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, frameRSTStream, 0, stream), uint32(why))
}

func appendWindow(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, frameWindowUpdate, 0, stream), uint32(n)) //nolint:gosec // a window
}

func appendPing(b []byte, flags byte, payload string) []byte {
	return append(appendHead(b, 8, framePing, flags, 0), payload...)
}

func appendGoAway(b []byte, last uint32, why code, reason string) []byte {
	b = appendHead(b, 8+len(reason), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(why))
	return append(b, reason...)
}

func appendSetting(b []byte, id uint16, v int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), uint32(v)) //nolint:gosec // a bound
}
