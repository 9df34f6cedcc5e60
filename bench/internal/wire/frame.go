package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
)

// Preface begins every HTTP/2 connection (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types of HTTP/2 frames (RFC 9113 section 6).
const (
	Data         = 0x0
	Headers      = 0x1
	ResetStream  = 0x3
	Settings     = 0x4
	Ping         = 0x6
	GoAway       = 0x7
	WindowUpdate = 0x8
)

// Flags of HTTP/2 frames.
const (
	Ack        = 0x1 // of Settings and Ping
	EndStream  = 0x1 // of Data and Headers
	EndHeaders = 0x4
	padded     = 0x8
	priority   = 0x20
)

// InitialWindow is the setting by which a peer bounds what a stream may send.
const InitialWindow = 0x4

// MaxFrame is the longest payload that a peer may send unless it was told otherwise.
const MaxFrame = 16 << 10

const frameHead = 9

// A Frame is one of HTTP/2. Payload is valid until the next read.
type Frame struct {
	Type, Flags byte
	Stream      uint32
	Payload     []byte
}

// ReadFrame reads the next frame. The buffer of br must hold [MaxFrame] and 9
// bytes more; a longer frame is an error.
func ReadFrame(br *bufio.Reader) (Frame, error) {
	head, err := br.Peek(frameHead)
	if err != nil {
		return Frame{}, err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	f := Frame{Type: head[3], Flags: head[4], Stream: binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)}
	if n > MaxFrame {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrMalformed, n)
	}
	all, err := br.Peek(frameHead + n)
	if err != nil {
		return Frame{}, err
	}
	f.Payload = all[frameHead:]
	_, err = br.Discard(frameHead + n)
	return f, err
}

// AppendFrame appends a frame to b.
func AppendFrame(b []byte, f Frame) []byte {
	n := len(f.Payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), f.Type, f.Flags) //nolint:gosec // 24 bits, as the format has it
	b = binary.BigEndian.AppendUint32(b, f.Stream)
	return append(b, f.Payload...)
}

// Body is the payload of f, of a type that may be padded, without what is no part
// of its content.
func (f Frame) Body() ([]byte, error) {
	b, skip, pad := f.Payload, 0, 0
	if f.Flags&padded != 0 {
		if len(b) < 1 {
			return nil, ErrMalformed
		}
		skip, pad = 1, int(b[0])
	}
	if f.Type == Headers && f.Flags&priority != 0 {
		skip += 5
	}
	if skip+pad > len(b) {
		return nil, ErrMalformed
	}
	return b[skip : len(b)-pad], nil
}

// Number is the number of 31 bits that f consists of, as in a WindowUpdate.
func (f Frame) Number() (int64, error) {
	if len(f.Payload) != 4 {
		return 0, ErrMalformed
	}
	return int64(binary.BigEndian.Uint32(f.Payload) & (1<<31 - 1)), nil
}

// Setting returns the value of a setting in f, the last if there are several.
func (f Frame) Setting(id uint16) (value int64, ok bool) {
	for b := f.Payload; len(b) >= 6; b = b[6:] {
		if binary.BigEndian.Uint16(b) == id {
			value, ok = int64(binary.BigEndian.Uint32(b[2:])), true
		}
	}
	return value, ok
}

// AppendSetting appends a setting to the payload of a Settings frame.
func AppendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

// A Field is a field of a request for HPACK (RFC 7541), whose name has an index
// in the static table (appendix A).
type Field struct {
	Index int // 1 to 61
	Value string
}

// AppendFields appends a header block: first, the fields as literals that the
// other side puts into its table; later, where they stand in the table then. No
// other fields may be sent on the connection, and all together must fit into a
// table of 4,096 bytes.
func AppendFields(b []byte, fields []Field, first bool) []byte {
	const (
		literal = 0x40 // with incremental indexing, section 6.2.1
		indexed = 0x80 // section 6.1
		dynamic = 62   // where the newest entry of the dynamic table stands
	)
	for i, f := range fields {
		if !first {
			b = append(b, byte(indexed|(dynamic+len(fields)-1-i))) //nolint:gosec // at most 126, see Field
			continue
		}
		b = append(b, byte(literal|f.Index)) //nolint:gosec // at most 61
		b = appendLength(b, len(f.Value))
		b = append(b, f.Value...)
	}
	return b
}

// appendLength appends the length of a string that is not Huffman-coded (section
// 5.1, with a prefix of 7 bits).
func appendLength(b []byte, n int) []byte {
	const prefix = 127
	if n < prefix {
		return append(b, byte(n)) //nolint:gosec // less than 127
	}
	b = append(b, prefix)
	for n -= prefix; n >= 128; n >>= 7 {
		b = append(b, byte(n&127|128)) //nolint:gosec // 8 bits
	}
	return append(b, byte(n))
}

// IsOK reports whether a header block of an answer begins with the status 200, in
// the way in which everybody writes it: index 8 of the static table.
func IsOK(block []byte) bool {
	for len(block) > 0 && block[0]&0xe0 == 0x20 { // the size of the table changes, section 6.3
		long := block[0]&0x1f == 0x1f
		block = block[1:]
		for long && len(block) > 0 {
			long, block = block[0]&0x80 != 0, block[1:]
		}
	}
	return len(block) > 0 && block[0] == 0x88
}
