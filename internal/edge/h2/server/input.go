package server

import (
	"errors"
	"io"
	"sync"

	"github.com/airside-gateway/airside/internal/edge/h2"
)

// An input is what was read of a connection. It is small until frames come that do not
// fit, or that fill it.
type input struct {
	small    []byte
	large    *large // in the place of small, or nil
	from, to int
	full     bool // the last read left no room
}

const smallSize = 4 << 10

// A large buffer holds two frames of the greatest size, nearly.
type large [32 << 10]byte

var larges = sync.Pool{New: func() any { return new(large) }}

func (in *input) buf() []byte {
	switch {
	case in.large != nil:
		return in.large[:]
	case in.small == nil:
		in.small = make([]byte, smallSize)
	}
	return in.small
}

// release lets go of memory.
func (in *input) release() {
	if in.large != nil {
		larges.Put(in.large)
		in.large = nil
	}
}

// grow makes room for more.
func (in *input) grow() {
	if in.large != nil {
		return
	}
	b, _ := larges.Get().(*large) // the pool holds nothing else
	in.to = copy(b[:], in.small[in.from:in.to])
	in.from, in.large = 0, b
}

// fill reads once, behind what is there.
func (in *input) fill(r io.Reader) error {
	b := in.buf()
	switch {
	case in.from == in.to && !in.full && in.large != nil:
		in.from, in.to = 0, 0
		in.release()
		b = in.buf()
	case in.full:
		in.grow()
		b = in.buf()
	}
	in.to = copy(b, b[in.from:in.to])
	in.from = 0
	n, err := r.Read(b[in.to:])
	in.to += n
	in.full = in.to == len(b) || n >= smallSize
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

var errPreface = errors.New("h2: the connection does not begin with the preface")

// preface takes what a client begins with.
func (in *input) preface(r io.Reader) error {
	for in.to-in.from < len(h2.Preface) {
		if err := in.fill(r); err != nil {
			return err
		}
	}
	if string(in.buf()[in.from:in.from+len(h2.Preface)]) != h2.Preface {
		return fail(codeProtocol, errPreface.Error())
	}
	in.from += len(h2.Preface)
	return nil
}

// next returns the next frame that has come whole, if there is one.
func (in *input) next() (f frame, ok bool, err error) {
	b := in.buf()[in.from:in.to]
	if len(b) < headSize {
		return frame{}, false, nil
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if n > maxFrame {
		return frame{}, false, fail(codeFrameSize, "a frame is longer than allowed")
	}
	if len(b) < headSize+n {
		if headSize+n > smallSize {
			in.grow()
		}
		return frame{}, false, nil
	}
	in.from += headSize + n
	id := uint32(b[5])<<24 | uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8])
	return frame{typ: b[3], flags: b[4], stream: id & streamMask, payload: b[headSize : headSize+n]}, true, nil
}
