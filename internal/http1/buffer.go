package http1

import "sync"

// BufferSize is what a [Buffer] holds before it grows, in bytes.
const BufferSize = 8 << 10

type block [BufferSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// bulkSize is what a Buffer holds after [Buffer.Enlarge].
const bulkSize = 64 << 10

type bulk [bulkSize]byte

var bulks = sync.Pool{New: func() any { return new(bulk) }}

// A Buffer holds bytes that were read and not used yet. It takes its memory from a
// pool when it needs it, and gives it back by [Buffer.Release], so that a connection
// that waits holds none. The zero Buffer is empty.
type Buffer struct {
	b    []byte
	from *block // where b is of the pool
	bulk *bulk  // where b is of that for bulk
	r, w int
}

// Bytes returns what is held. It is valid until the next call of Space or Release.
func (b *Buffer) Bytes() []byte { return b.b[b.r:b.w] }

// Len is how many bytes are held.
func (b *Buffer) Len() int { return b.w - b.r }

// Take drops the first n bytes.
func (b *Buffer) Take(n int) { b.r += n }

// Space returns room behind what is held, for [Buffer.Wrote]. It grows the buffer
// where it is full, to at most limit bytes, or [BufferSize] where limit is less. If as
// much is held, it returns nil.
func (b *Buffer) Space(limit int) []byte {
	switch {
	case b.b == nil:
		b.from, _ = blocks.Get().(*block) // the pool holds nothing else
		b.b, b.r, b.w = b.from[:], 0, 0
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w == len(b.b) && b.r > 0:
		b.w = copy(b.b, b.b[b.r:b.w])
		b.r = 0
	}
	if b.w < len(b.b) {
		return b.b[b.w:]
	}
	if b.w >= limit {
		return nil
	}
	grown := make([]byte, min(2*len(b.b), max(limit, BufferSize)))
	copy(grown, b.b[:b.w])
	if b.from != nil {
		blocks.Put(b.from)
		b.from = nil
	}
	if b.bulk != nil {
		bulks.Put(b.bulk)
		b.bulk = nil
	}
	b.b = grown
	return b.b[b.w:]
}

// Wrote adds the first n bytes of Space to what is held.
func (b *Buffer) Wrote(n int) { b.w += n }

// Enlarge makes room for bulk, if nothing is held: fewer and larger pieces cost less. It
// lasts until Release.
func (b *Buffer) Enlarge() {
	if b.Len() > 0 || b.bulk != nil {
		return
	}
	b.Release()
	b.bulk, _ = bulks.Get().(*bulk) // the pool holds nothing else
	b.b = b.bulk[:]
}

// Release drops everything, and gives the memory back.
func (b *Buffer) Release() {
	if b.from != nil {
		blocks.Put(b.from)
	}
	if b.bulk != nil {
		bulks.Put(b.bulk)
	}
	*b = Buffer{}
}
