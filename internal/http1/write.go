package http1

import (
	"net/http"
	"strconv"
)

// AppendField appends a field line. Name and value must be valid.
func AppendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// A Line is a field with its values: a line of a header for each.
type Line struct {
	Name   string
	Values []string
}

// Lines appends the fields of h to room, in the order of their names, so that the same
// header is written the same way each time.
func Lines(room []Line, h http.Header) []Line {
	for name, values := range h {
		i := len(room)
		room = append(room, Line{})
		for ; i > 0 && name < room[i-1].Name; i-- {
			room[i] = room[i-1]
		}
		room[i] = Line{name, values}
	}
	return room
}

// AppendLine appends a field, a line for each value. It reports false, and appends
// nothing, if the name or a value is not valid.
func AppendLine(b []byte, l *Line) ([]byte, bool) {
	begin := len(b)
	for _, v := range l.Values {
		at := len(b)
		b = append(b, l.Name...)
		if tokenLen(b[at:]) != len(l.Name) || l.Name == "" {
			return b[:begin], false
		}
		b = append(b, ": "...)
		at = len(b)
		b = append(b, v...)
		if control(b[at:]) != len(v) {
			return b[:begin], false
		}
		b = append(b, "\r\n"...)
	}
	return b, true
}

// AppendLength appends a Content-Length line.
func AppendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// AppendStatus appends a status line of HTTP/1.1. Without a reason it is the usual one.
func AppendStatus(b []byte, status int, reason string) []byte {
	if status == http.StatusOK && reason == "" {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	if reason == "" {
		reason = http.StatusText(status)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

// AppendChunkSize appends the line before a chunk of n bytes, n > 0.
func AppendChunkSize(b []byte, n int) []byte {
	b = strconv.AppendInt(b, int64(n), 16)
	return append(b, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body with its trailers, in the order of
// their names. Those that are not valid are left out.
func AppendLastChunk(b []byte, trailer http.Header) []byte {
	b = append(b, "0\r\n"...)
	var room [8]Line
	lines := Lines(room[:0], trailer)
	for i := range lines {
		b, _ = AppendLine(b, &lines[i])
	}
	return append(b, "\r\n"...)
}

// ValidName reports whether s can be a field name or a method: a token of RFC 9110
// section 5.6.2.
func ValidName(s string) bool {
	for i := range len(s) {
		if lowerBytes[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// ValidValue reports whether s can stand in a field: it holds no control character but
// HTAB.
func ValidValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
