package sse

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
)

// DefaultMax bounds an event, all its lines together, in bytes.
const DefaultMax = 1 << 20

// ErrTooLarge is what reading ends with at an event beyond the bound.
var ErrTooLarge = errors.New("sse: an event is too large")

// errWait says that there is no whole event without reading from the source.
var errWait = errors.New("sse: no whole event yet")

const (
	firstBuffer = 4 << 10  // what an idle stream holds
	keepBuffer  = 64 << 10 // a larger buffer is let go once it is empty
	leastRead   = 512      // room to read into
	emptyReads  = 100      // reads of nothing before giving up
)

var byteOrderMark = []byte("\xEF\xBB\xBF")

// A Reader reads a stream block by block. Make it by [NewReader].
type Reader struct {
	src io.Reader
	max int

	buf  []byte // buf[from:to] is read from src and not yet told
	from int
	to   int
	line int   // where the line begins that is being looked at
	pos  int   // what lies before was looked at
	cr   bool  // a carriage return ended the last line: a line feed belongs to it
	mark bool  // the byte order mark was looked for
	err  error // what src ended with

	block   block
	data    lines
	comment lines
	texts   [8]string // what was seen last
	text    int       // which of texts to give up next
}

// NewReader returns a reader of src, whose events are at most max bytes;
// [DefaultMax] if max is not positive. A line is bounded by the event it is in.
func NewReader(src io.Reader, max int) *Reader {
	if max <= 0 {
		max = DefaultMax
	}
	return &Reader{src: src, max: max}
}

// Read yields the events of src that a client is told of: those with data. A
// broken source yields its error, last, after the whole events before it.
// Events are bounded by [DefaultMax]; one beyond yields [ErrTooLarge].
func Read(src io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for e, err := range NewReader(src, 0).All() {
			if err == nil && e.Data == nil {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// All yields every block, those without data included, and at most one error,
// last. The end of the stream is no error.
func (r *Reader) All() iter.Seq2[Event, error] { return sequence(r) }

// Next returns the next block, data or not. It fails with [io.EOF] at the end,
// with [ErrTooLarge], or with what broke the source; and then does so again.
func (r *Reader) Next() (Event, error) { return r.next(true) }

// Rest is what the stream ended with after the last whole event. Per
// specification it is no event. It is to be asked for after Next failed.
func (r *Reader) Rest() []byte { return r.buf[r.from:r.to] }

// next is Next; if it may not wait, it reads nothing from the source and fails
// with errWait instead.
func (r *Reader) next(wait bool) (Event, error) {
	for {
		if whole := r.scan(); whole != nil {
			return r.parse(whole), nil
		}
		if r.err != nil {
			return Event{}, r.err
		}
		if !wait {
			return Event{}, errWait
		}
		r.fill()
	}
}

// stop makes a reader a source; whoever has the stream closes it.
func (r *Reader) stop() {}

// scan looks for the end of a block, from where it left off, and returns its
// lines without the blank one. It returns nil if there is no end yet.
func (r *Reader) scan() []byte {
	if !r.mark && !r.skipMark() {
		return nil
	}
	for r.pos < r.to {
		if r.cr {
			r.cr = false
			if r.buf[r.pos] == '\n' {
				r.skipLineFeed()
				continue
			}
		}
		ended := r.endLine()
		if r.pos-r.from > r.max {
			r.pos, r.err = r.to, ErrTooLarge
			return nil
		}
		if !ended {
			return nil
		}
		begin := r.line
		r.line = r.pos
		if first := r.buf[begin]; first != '\n' && first != '\r' {
			continue
		}
		whole := cutMarks(r.buf[r.from:begin])
		r.from = r.pos
		if len(whole) > 0 {
			return whole
		}
	}
	return nil
}

// cutMarks leaves out first lines that begin with a byte order mark. They say
// nothing to a client, unless what they stood behind is dropped and the client
// takes the mark for that of the stream: then it would read, say, data that
// nobody had seen.
func cutMarks(raw []byte) []byte {
	for bytes.HasPrefix(raw, byteOrderMark) {
		_, raw = cutLine(raw)
	}
	return raw
}

// skipLineFeed takes the second half of a CRLF to the line that it ends. That
// line may have ended a block already.
func (r *Reader) skipLineFeed() {
	if r.from == r.pos {
		r.from++
	}
	r.pos++
	r.line = r.pos
}

// endLine moves on to after the end of the line, or to the end of what there is.
// It reports which.
func (r *Reader) endLine() bool {
	rest := r.buf[r.pos:r.to]
	end := bytes.IndexByte(rest, '\n')
	if end >= 0 {
		rest = rest[:end]
	}
	if cr := bytes.IndexByte(rest, '\r'); cr >= 0 {
		r.cr = true
		end = cr
	}
	if end < 0 {
		r.pos = r.to
		return false
	}
	r.pos += end + 1
	return true
}

// skipMark leaves a byte order mark out, and reports whether enough is there to
// say so.
func (r *Reader) skipMark() bool {
	head := r.buf[r.from:r.to]
	if len(head) < len(byteOrderMark) && bytes.HasPrefix(byteOrderMark, head) && r.err == nil {
		return false
	}
	if bytes.HasPrefix(head, byteOrderMark) {
		r.from += len(byteOrderMark)
	}
	r.mark, r.line, r.pos = true, r.from, r.from
	return true
}

// fill reads once from the source, and makes room for it before. What is unread
// is the beginning of one block: scan has looked at all of it.
func (r *Reader) fill() {
	if r.from == r.to {
		r.from, r.line, r.pos, r.to = 0, 0, 0, 0
		if len(r.buf) > keepBuffer {
			r.buf, r.data, r.comment = nil, lines{}, lines{}
		}
	}
	if len(r.buf)-r.to < leastRead {
		r.makeRoom()
	}
	for range emptyReads {
		n, err := r.src.Read(r.buf[r.to:])
		r.to += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// makeRoom moves what is unread to the beginning, of a larger buffer if need be.
// It never needs more than the bound and a little: scan has refused more.
func (r *Reader) makeRoom() {
	unread := r.buf[r.from:r.to]
	buf := r.buf
	if size := len(unread) + leastRead; size > len(buf) {
		buf = make([]byte, max(firstBuffer, min(2*len(unread), r.max)+leastRead))
	}
	copy(buf, unread)
	r.line, r.pos, r.to = r.line-r.from, r.pos-r.from, len(unread)
	r.buf, r.from = buf, 0
}

// parse reads the lines of a block.
func (r *Reader) parse(raw []byte) Event {
	b := &r.block
	b.seq++
	b.raw = raw
	r.data.n, r.comment.n = 0, 0
	e := Event{block: b, seq: b.seq}
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		switch f, value := parseLine(line); f {
		case commentField:
			r.comment.add(value)
		case typeField:
			e.Type = r.intern(value)
		case idField:
			e.ID, e.HasID = string(value), true
		case retryField:
			e.Retry = r.intern(value)
		case dataField:
			r.data.add(value)
		case unknownField:
		}
	}
	e.Data, e.Comment = r.data.joined(), r.intern(r.comment.joined())
	b.was = e
	return e
}

// lines joins lines by a line feed. A single one is not copied.
type lines struct {
	n     int
	first []byte
	buf   []byte
}

func (l *lines) add(line []byte) {
	l.n++
	switch l.n {
	case 1:
		l.first = line
		return
	case 2:
		l.buf = append(l.buf[:0], l.first...)
	}
	l.buf = append(append(l.buf, '\n'), line...)
}

// joined is nil if there are no lines. It cannot be appended to in place.
func (l *lines) joined() []byte {
	switch {
	case l.n == 0:
		return nil
	case l.n > 1:
		return slices.Clip(l.buf)
	case l.first == nil:
		return []byte{}
	}
	return slices.Clip(l.first)
}

// intern makes a string of b. Those of a stream are few and come again.
func (r *Reader) intern(b []byte) string {
	if len(b) > 64 {
		return string(b)
	}
	for _, s := range r.texts {
		if s == string(b) {
			return s
		}
	}
	s := string(b)
	r.texts[r.text] = s
	r.text = (r.text + 1) % len(r.texts)
	return s
}
