// Package sse reads, writes and rewrites server-sent events (WHATWG HTML,
// section 9.2, "Server-sent events"; media type text/event-stream).
//
// [Read] yields the events of a stream as a client sees them. [Reader] yields
// every block of it, keep-alive comments included, which is what a gateway has
// to pass on. [Body] and [Map] turn the body of an answer into another one,
// event by event, and [Stream] makes a body of events that the gateway itself
// has to tell. [Append] and [Writer] write.
//
// # What is kept
//
// An event that was read and is written unchanged comes out byte for byte: the
// order of its fields, fields that nobody knows, comments and line endings. Of an
// event that was changed, only the lines of the changed fields are written anew.
// Not kept are a byte order mark at the beginning (and lines that begin with one,
// where they could be taken for the beginning), and blank lines between events
// beyond the one that ends an event.
//
// An event is complete with its blank line. What is left without one at the end
// of a stream is no event (section 9.2.6), so Body and Map drop it: it was never
// seen by whoever changes events, and must not slip past. A gateway that changes
// nothing therefore passes the body itself on, and not a Body of it, and nothing
// vanishes; [Reader.Rest] tells what was left.
package sse

import (
	"bytes"
	"strings"
)

// An Event is one block of a stream: the lines up to a blank one. Data, and
// fields that are not exported, are valid until the next event is read; [Clone]
// makes an event that lasts. Data must not be changed in place, but replaced.
type Event struct {
	ID    string // of this block, not the last one seen on the stream
	HasID bool   // there is an id field; an empty one resets the client's last event id
	Type  string // the event field; empty means "message"

	// Data is the lines of data, joined by a line feed. It is nil where there is
	// no data field: then a client is told nothing (section 9.2.6), and the block
	// is a comment, or sets the id or the time to reconnect. A carriage return in
	// Data is written, and so read again, as a line feed.
	Data []byte

	Retry   string // time to reconnect in milliseconds, decimal digits as on the wire; empty: none
	Comment string // lines that begin with a colon, joined by a line feed

	block *block // what was read, to be written again
	seq   uint64 // which reading of block
}

// A block remembers an event as it was read. A reader has one, and uses it again
// for the next event.
type block struct {
	seq uint64
	raw []byte // the lines with their endings, but the blank one
	was Event  // what raw says
}

// Equal reports whether a and b say the same. An event without data differs from
// one with empty data.
func (e Event) Equal(f Event) bool {
	return e.changed(f) == 0
}

// Clone returns a copy of e that stays valid.
func (e Event) Clone() Event {
	e.Data = bytes.Clone(e.Data)
	if b := e.origin(); b != nil {
		was := b.was
		was.Data = bytes.Clone(was.Data)
		e.block = &block{seq: e.seq, raw: bytes.Clone(b.raw), was: was}
	}
	return e
}

// origin is the block that e was read from, if it is still there.
func (e Event) origin() *block {
	if e.block == nil || e.block.seq != e.seq {
		return nil
	}
	return e.block
}

// A field is a kind of line, as a bit.
type field uint8

const (
	commentField field = 1 << iota
	typeField
	idField
	retryField
	dataField
	unknownField // a line that says nothing to a client, but is passed on
)

// fields lists what can be written, in the order of an event made anew.
var fields = [...]field{commentField, typeField, idField, retryField, dataField}

// changed is the set of fields in which e and f differ.
func (e Event) changed(f Event) (set field) {
	if e.Comment != f.Comment {
		set |= commentField
	}
	if e.Type != f.Type {
		set |= typeField
	}
	if e.ID != f.ID || e.HasID != f.HasID {
		set |= idField
	}
	if e.Retry != f.Retry {
		set |= retryField
	}
	if (e.Data == nil) != (f.Data == nil) || !bytes.Equal(e.Data, f.Data) {
		set |= dataField
	}
	return set
}

// Append appends e to dst as it goes over the wire, with the blank line. An event
// that says nothing appends nothing.
//
// A line break in ID or Type, and a NUL in ID, cannot be written, and is written
// as a space, so that no text can forge a field. A Retry that is not digits is
// left out.
func Append(dst []byte, e Event) []byte {
	start := len(dst)
	if b := e.origin(); b != nil {
		dst = b.append(dst, e)
	} else {
		for _, f := range fields {
			dst = e.appendField(dst, f)
		}
	}
	if len(dst) == start {
		return dst
	}
	return appendBlank(dst)
}

// appendBlank ends an event in the manner of its last line. A bare carriage
// return must not be followed by a line feed: the two would be one line end.
func appendBlank(dst []byte) []byte {
	switch {
	case dst[len(dst)-1] == '\r':
		return append(dst, '\r')
	case len(dst) > 1 && dst[len(dst)-2] == '\r':
		return append(dst, '\r', '\n')
	}
	return append(dst, '\n')
}

// append writes the lines of b, those of changed fields as e has them.
func (b *block) append(dst []byte, e Event) []byte {
	set := e.changed(b.was)
	if set == 0 {
		return append(dst, b.raw...)
	}
	todo := set
	for rest := b.raw; len(rest) > 0; {
		line, next := cutLine(rest)
		end := len(rest) - len(next)
		f, _ := parseLine(line)
		switch {
		case bytes.HasPrefix(line, byteOrderMark): // must not become the first line
		case f&set == 0:
			dst = append(dst, rest[:end]...)
		case f&todo != 0:
			dst = e.appendField(dst, f)
			todo &^= f
		}
		rest = next
	}
	for _, f := range fields {
		if f&todo != 0 {
			dst = e.appendField(dst, f)
		}
	}
	return dst
}

func (e Event) appendField(dst []byte, f field) []byte {
	switch f {
	case commentField:
		if e.Comment != "" {
			return appendLines(dst, ":", []byte(e.Comment))
		}
	case typeField:
		if e.Type != "" {
			return appendText(dst, "event: ", e.Type)
		}
	case idField:
		if e.ID != "" || e.HasID {
			return appendText(dst, "id: ", e.ID)
		}
	case retryField:
		if digits(e.Retry) {
			return appendText(dst, "retry: ", e.Retry)
		}
	case dataField:
		if e.Data != nil {
			return appendLines(dst, "data:", e.Data)
		}
	case unknownField:
	}
	return dst
}

var unsafeText = strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ")

func appendText(dst []byte, name, value string) []byte {
	if strings.ContainsAny(value, "\r\n\x00") {
		value = unsafeText.Replace(value)
	}
	return append(append(append(dst, name...), value...), '\n')
}

// appendLines writes text as lines that each begin with name.
func appendLines(dst []byte, name string, text []byte) []byte {
	for {
		line, rest := cutLine(text)
		dst = append(dst, name...)
		if len(line) > 0 {
			dst = append(append(dst, ' '), line...)
		}
		dst = append(dst, '\n')
		if len(line) == len(text) {
			return dst
		}
		text = rest
	}
}

// cutLine returns the first line of b without its end, and what follows it.
func cutLine(b []byte) (line, rest []byte) {
	end := bytes.IndexByte(b, '\n')
	line = b
	if end >= 0 {
		line, rest = b[:end], b[end+1:]
	}
	switch cr := bytes.IndexByte(line, '\r'); {
	case cr < 0:
	case cr+1 == end:
		line = b[:cr]
	default:
		line, rest = b[:cr], b[cr+1:]
	}
	return line, rest
}

// parseLine reads one line, section 9.2.6: what field it is, and its value. A
// field that the specification says to ignore is unknown.
func parseLine(line []byte) (f field, value []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "":
		return commentField, value
	case "data":
		return dataField, value
	case "event":
		return typeField, value
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			return idField, value
		}
	case "retry":
		if digits(value) {
			return retryField, value
		}
	}
	return unknownField, value
}

func digits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}
