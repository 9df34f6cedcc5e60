package web

import (
	"net/http"
	"net/textproto"
)

// An Edit changes headers where they are, and takes the changes back when asked: so a
// policy shows a request with other headers to those behind it, and whoever stands
// before it can send the first one again. That costs a fraction of a copy of the map.
//
// Lines are never written into, and those of the headers that stay are shared.
type Edit struct {
	// Header is what is changed. It must not be nil where something is to be set.
	Header http.Header

	// What was there before each change, oldest first. Few changes need no memory.
	first [4]saved
	more  []saved
	n     int // of first
}

// A saved is what a header was before a change.
type saved struct {
	name  string
	lines []string
	was   bool // there was such a header, if only without lines
}

// Set gives name the lines, and removes its aliases; see [SetHeader].
func (e *Edit) Set(name string, lines []string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	for k := range e.Header {
		if len(k) == len(name) && k != name && Alias(k, name) {
			e.delete(k)
		}
	}
	e.Put(name, lines)
}

// Put gives name the lines, whatever its aliases say. The name must be canonical.
func (e *Edit) Put(name string, lines []string) {
	e.save(name)
	e.Header[name] = lines
}

// Del removes each of names and every alias of it, in one pass; see [DelHeader].
func (e *Edit) Del(names ...string) {
	for k := range e.Header {
		for _, name := range names {
			if len(k) == len(name) && Alias(k, name) {
				e.delete(k)
				break
			}
		}
	}
}

// DelFunc removes the headers of which gone is true.
func (e *Edit) DelFunc(gone func(name string) bool) {
	for k := range e.Header {
		if gone(k) {
			e.delete(k)
		}
	}
}

// Undo takes all changes back, the last one first.
func (e *Edit) Undo() {
	for i := len(e.more) - 1; i >= 0; i-- {
		e.more[i].restore(e.Header)
	}
	for e.more = nil; e.n > 0; e.n-- {
		e.first[e.n-1].restore(e.Header)
	}
}

func (s *saved) restore(h http.Header) {
	if s.was {
		h[s.name] = s.lines
	} else {
		delete(h, s.name)
	}
}

func (e *Edit) delete(name string) {
	e.save(name)
	delete(e.Header, name)
}

func (e *Edit) save(name string) {
	lines, was := e.Header[name]
	s := saved{name, lines, was}
	if e.n < len(e.first) {
		e.first[e.n] = s
		e.n++
		return
	}
	e.more = append(e.more, s)
}
