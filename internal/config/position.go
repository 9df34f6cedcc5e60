package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is how many problems [Problems.Error] writes out.
const maxShown = 100

// maxMessage bounds the message of one problem, in bytes. Messages of components
// may hold whatever the file holds.
const maxMessage = 1000

// A Position is a place in a file. Line and Column begin at 1, and Column counts
// characters, not bytes. A Line of 0 means the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// String writes the position as editors and compilers do: file:line:column.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// A Problem is one thing that is wrong with a configuration, and where.
type Problem struct {
	At      Position
	Message string // one line, and no secret in it
}

// String writes the problem in one line: position, colon, message.
func (p Problem) String() string {
	if at := p.At.String(); at != "" {
		return at + ": " + p.Message
	}
	return p.Message
}

// Problems is everything that is wrong with a configuration. As an error it is
// one problem a line.
type Problems []Problem

// Sorted returns the problems in the order of the file, each of them once.
func (p Problems) Sorted() Problems {
	s := slices.Clone(p)
	slices.SortStableFunc(s, func(a, b Problem) int {
		return cmp.Or(a.At.compare(b.At), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(s)
}

// Error writes the problems in the order of the file, one a line, each of them
// once, at most 100, and then how many more there are.
func (p Problems) Error() string {
	s := p.Sorted()
	lines := make([]string, 0, min(len(s), maxShown)+1)
	for _, x := range s[:min(len(s), maxShown)] {
		lines = append(lines, x.String())
	}
	if len(s) > maxShown {
		lines = append(lines, fmt.Sprintf("and %d more", len(s)-maxShown))
	}
	return strings.Join(lines, "\n")
}

// asError is p as an error; nil, and not an empty one, if there is no problem.
func (p Problems) asError() error {
	if len(p) == 0 {
		return nil
	}
	return p.Sorted()
}

// oneLine makes a message fit for a line of a terminal or a log: no line ends,
// no control characters, and a bound to its length.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return cut(s, maxMessage)
}

// cut shortens s to at most n bytes, at the boundary of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
