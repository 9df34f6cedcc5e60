package http1

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// fill writes what p repeats into all room that there is up to limit.
func fill(b *Buffer, limit int) (grew int) {
	for {
		space := b.Space(limit)
		if space == nil {
			return grew
		}
		for i := range space {
			space[i] = byte(grew + i)
		}
		b.Wrote(len(space))
		grew += len(space)
	}
}

func TestBufferGrowsToItsLimit(t *testing.T) {
	for _, c := range []struct{ limit, want int }{
		{0, BufferSize},
		{BufferSize, BufferSize},
		{BufferSize + 1, BufferSize + 1},
		{3 * BufferSize, 3 * BufferSize},
		{64 << 10, 64 << 10},
	} {
		var b Buffer
		if got := fill(&b, c.limit); got != c.want || b.Len() != c.want {
			t.Errorf("limit %d: got %d bytes, want %d", c.limit, b.Len(), c.want)
		}
		for i, got := range b.Bytes() {
			if got != byte(i) {
				t.Fatalf("limit %d: byte %d is %d", c.limit, i, got)
			}
		}
		b.Take(1)
		if got := len(b.Space(c.limit)); got != 1 {
			t.Errorf("limit %d: got room for %d after a byte was taken, want 1", c.limit, got)
		}
		if b.Bytes()[0] != 1 {
			t.Errorf("limit %d: got %d first, want 1", c.limit, b.Bytes()[0])
		}
		b.Release()
		if b.Len() != 0 || len(b.Bytes()) != 0 {
			t.Errorf("limit %d: got %d bytes after Release", c.limit, b.Len())
		}
	}
}

// A later limit that is higher lets it grow further.
func TestBufferLimitIsOfEachCall(t *testing.T) {
	var b Buffer
	defer b.Release()
	fill(&b, BufferSize)
	if got := b.Space(BufferSize); got != nil {
		t.Errorf("got room for %d, want none", len(got))
	}
	if got := b.Space(BufferSize + 10); len(got) != 10 {
		t.Errorf("got room for %d, want 10", len(got))
	}
}

// A buffer that is empty begins at its beginning again, and holds nothing once released.
func TestBufferReuse(t *testing.T) {
	var b Buffer
	b.Release() // of nothing
	for range 3 {
		copy(b.Space(BufferSize), "hello")
		b.Wrote(5)
		b.Take(5)
		if got := len(b.Space(BufferSize)); got != BufferSize {
			t.Errorf("got room for %d, want %d", got, BufferSize)
		}
		copy(b.Space(BufferSize), "again")
		b.Wrote(5)
		if string(b.Bytes()) != "again" {
			t.Errorf("got %q", b.Bytes())
		}
		b.Release()
		if b.b != nil || b.from != nil {
			t.Error("a released buffer holds memory")
		}
	}
	if got := testing.AllocsPerRun(100, func() {
		b.Wrote(copy(b.Space(BufferSize), "hello"))
		b.Release()
	}); got >= 1 {
		t.Errorf("got %v allocations, want those of the pool only", got)
	}
}

// Two buffers never share memory, also after one has grown out of the pool.
func TestBuffersAreApart(t *testing.T) {
	var a, b Buffer
	fill(&a, 2*BufferSize) // its first block has gone back
	fill(&b, BufferSize)
	before := bytes.Clone(a.Bytes())
	for i := range b.Bytes() {
		b.Bytes()[i] = 0xff
	}
	if !bytes.Equal(a.Bytes(), before) {
		t.Error("writing to one changed the other")
	}
	a.Release()
	b.Release()
}

// Whatever is written comes out in order, for any order of writing and taking.
func TestBufferKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const limit = 3 * BufferSize
	var b Buffer
	in, out := byte(0), byte(0)
	for range 5000 {
		if space := b.Space(limit); space != nil {
			n := r.IntN(len(space) + 1)
			for i := range space[:n] {
				space[i] = in
				in++
			}
			b.Wrote(n)
		}
		n := r.IntN(b.Len() + 1)
		for _, got := range b.Bytes()[:n] {
			if got != out {
				t.Fatalf("got %d, want %d", got, out)
			}
			out++
		}
		b.Take(n)
		if b.Len() > limit {
			t.Fatalf("got %d bytes, want at most %d", b.Len(), limit)
		}
		if b.Len() == 0 && r.IntN(4) == 0 {
			b.Release()
		}
	}
}

// Enlarge makes room for bulk, and leaves alone what is held.
func TestBufferEnlarge(t *testing.T) {
	var b Buffer
	b.Wrote(copy(b.Space(BufferSize), "held"))
	if b.Enlarge(); string(b.Bytes()) != "held" {
		t.Fatalf("got %q, want what was held", b.Bytes())
	}
	b.Take(4)
	b.Enlarge()
	if got := len(b.Space(BufferSize)); got != bulkSize {
		t.Errorf("there is room for %d bytes, want %d", got, bulkSize)
	}
	whole := b.Space(BufferSize)
	for i := range whole {
		whole[i] = byte(i)
	}
	b.Wrote(len(whole))
	if b.Space(BufferSize) != nil {
		t.Error("it grows beyond the limit")
	}
	if got := b.Space(2 * bulkSize); len(got) != bulkSize || b.Bytes()[300] != 300%256 {
		t.Errorf("grown, there is room for %d bytes behind what is held, want %d", len(got), bulkSize)
	}
	b.Release()
	if got := len(b.Space(BufferSize)); got != BufferSize {
		t.Errorf("after Release there is room for %d bytes, want %d", got, BufferSize)
	}
}
