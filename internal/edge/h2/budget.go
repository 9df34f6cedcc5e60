package h2

import (
	"sync/atomic"
	"time"
)

// What a client may spend. All of it is in frames that ask for nothing, such as
// PING; see cost. A burst takes the gateway a few milliseconds of work at most.
const (
	burst = 1024 // at once
	rate  = 256  // a second
)

// What frames of the client cost. A request costs until it has reached its handler:
// then it was one.
const (
	costFrame    = 1
	costReset    = 2
	costFragment = 2 // a CONTINUATION; the first 16 KiB of a head need none
	costRequest  = 4
	costProvoked = 4 // a RST_STREAM that we sent for an error of the client
	costSettings = 8 // is answered, and may change every stream
)

// What useful work gives back.
const (
	earnReached  = costRequest
	earnAnswered = 12
	// A DATA frame to the client pays for the WINDOW_UPDATEs and the PINGs by which
	// clients measure the line: for its connection, its stream, and one more for each
	// KiB. One of a few bytes pays for none: a client that opens its window by one byte
	// at a time makes us send such (CVE-2019-9511).
	earnPiece  = 3
	smallPiece = 16
	sentShift  = 10 // one for each KiB sent
	gotShift   = 9  // one for each 512 bytes of DATA received
)

// A budget is how many frames that ask for nothing a client may still send.
type budget struct {
	left   atomic.Int64
	filled time.Time // when it was last filled by time; of the reader
}

func newBudget() *budget {
	b := &budget{filled: time.Now()}
	b.left.Store(burst)
	return b
}

// earn gives n back.
func (b *budget) earn(n int64) {
	if n > 0 && b.left.Load() < burst {
		b.left.Add(n)
	}
}

// charge takes n. Whether that was too much, the reader finds out by spend.
func (b *budget) charge(n int64) { b.left.Add(-n) }

// spend takes n, and reports whether that much was left. It is the reader's.
func (b *budget) spend(n int64) bool {
	return b.left.Add(-n) >= 0 || b.fill()
}

// fill adds what the time since the last filling is worth. The clock is asked only
// when nothing is left.
func (b *budget) fill() bool {
	now := time.Now()
	since := min(now.Sub(b.filled), burst*time.Second/rate)
	if n := int64(since) * rate / int64(time.Second); n > 0 {
		b.filled = now
		b.left.Add(n)
	}
	return b.left.Load() >= 0
}

// cost is what a frame of the client costs, and what it earns.
func cost(f *frame) (spent, earned int64) {
	switch f.typ {
	case frameData:
		n := f.content()
		if n == 0 && f.flags&flagEndStream == 0 { // CVE-2019-9518
			return costFrame, 0
		}
		return 0, int64(n >> gotShift)
	case frameHeaders:
		return costRequest, 0
	case frameContinuation:
		return costFragment, 0
	case frameRSTStream:
		return costReset, 0
	case frameSettings:
		if f.flags&flagAck != 0 {
			return costFrame, 0
		}
		return costSettings, 0
	case framePriority, framePing, frameWindowUpdate, framePriorityUpdate:
		return costFrame, 0
	}
	return costFrame + int64(f.length>>sentShift), 0 // of an unknown type, or not for clients to send
}

// worth is what a frame that we sent is worth: negative if the client provoked it by
// an error (MadeYouReset, CVE-2025-8671).
func worth(f *frame) int64 {
	switch f.typ {
	case frameData:
		if f.length < smallPiece {
			return 0
		}
		return earnPiece + int64(f.length>>sentShift)
	case frameRSTStream:
		switch f.code() {
		case codeNo, codeInternal, codeCancel: // an early answer, or a fault of ours or of the agent
			return 0
		}
		return -costProvoked
	}
	return 0
}
