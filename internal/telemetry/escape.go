package telemetry

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as the inside of a JSON string. What is not UTF-8 becomes
// U+FFFD; the line separators U+2028 and U+2029 are escaped, as JavaScript wants it.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := plainTo(s, 0); i < len(s); i = plainTo(s, i) {
		b = append(b, s[start:i]...)
		size := 1
		if c := s[i]; c < utf8.RuneSelf {
			b = appendEscape(b, c)
		} else {
			b, size = appendRune(b, s[i:])
		}
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

// Eight bytes at once: what a word of them holds tells whether one needs a closer look.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainTo returns the index of the first byte of s from i on that is not to be written
// as it is, or the length of s.
func plainTo(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := w^ones*'"', w^ones*'\\'
		// A byte less than n borrows from its own highest bit when n is taken off it.
		if (w|(w-ones*' ')|(quote-ones)|(slash-ones))&highs != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return i
		}
	}
	return i
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '\\', '"':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// appendRune appends the character that s begins with, and returns its size in s.
func appendRune(b []byte, s string) ([]byte, int) {
	c, size := utf8.DecodeRuneInString(s)
	switch {
	case c == utf8.RuneError && size == 1:
		return append(b, "\ufffd"...), size
	case c == '\u2028' || c == '\u2029':
		return append(b, '\\', 'u', '2', '0', '2', hexDigits[c&0xf]), size
	}
	return append(b, s[:size]...), size
}
