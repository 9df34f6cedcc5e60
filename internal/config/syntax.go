package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// syntax reports an error of the YAML parser in the words of somebody who writes
// a configuration.
func (d *decoder) syntax(err error) bool {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return d.fail(&node{line: 1, column: 1}, "the file cannot be read as YAML")
	}
	at := &node{line: max(e.Mark.Line, 1), column: max(e.Mark.Column, 1)}
	start := &node{line: e.ContextMark.Line, column: e.ContextMark.Column}
	if start.line == 0 {
		start = at
	}
	noticed := fmt.Sprintf(" (noticed at %d:%d)", at.line, at.column)
	switch about(e) {
	case tabs:
		return d.fail(at, tabMessage)
	case openQuote:
		return d.fail(start, "the quote that begins here is never closed")
	case openList:
		return d.fail(start, `the list that begins here lacks a comma or its closing "]"`+noticed)
	case openMapping:
		return d.fail(start, `the mapping that begins here lacks a comma or its closing "}"; text with { or } in it, such as a path with {id}, needs quotes`+noticed)
	case colon:
		return d.fail(at, `unexpected ":": put text that holds ": " in quotes, or check the indentation`)
	case noColon:
		return d.fail(start, `expected "key: value" here, found text without a colon`)
	case indentation:
		return d.fail(at, "this does not line up with what stands above: check the indentation, and quotes and brackets before it")
	case firstCharacter:
		if d.character(start) == "\t" {
			return d.fail(at, tabMessage)
		}
		return d.fail(start, fmt.Sprintf("text that begins with %q needs quotes", d.character(start)))
	case escape:
		return d.fail(at, `unknown escape in double quotes: use single quotes, or write \\ for a backslash`)
	case anchor:
		return d.fail(at, "nothing is anchored under this name (text that begins with * needs quotes)")
	case depth:
		return d.fail(at, tooDeep)
	}
	return d.fail(at, strings.TrimSpace(e.Message+" "+e.ContextMsg))
}

const tabMessage = "a tab stands where spaces are needed: YAML is indented with spaces only"

// An error of syntax is about one of these.
const (
	unknown = iota
	tabs
	openQuote
	openList
	openMapping
	colon
	noColon
	indentation
	firstCharacter
	escape
	anchor
	depth
)

// about sorts the errors of the parser. The texts are those of go.yaml.in/yaml/v4.
func about(e *yaml.LoadError) int {
	m, c := e.Message, e.ContextMsg
	for _, x := range []struct {
		message, context string
		about            int
	}{
		{"tab character", "", tabs},
		{"unexpected end of stream", "quoted scalar", openQuote},
		{"unexpected document indicator", "quoted scalar", openQuote},
		{"did not find expected ',' or ']'", "", openList},
		{"did not find expected ',' or '}'", "", openMapping},
		{"mapping values are not allowed", "", colon},
		{"could not find expected ':'", "", noColon},
		{"did not find expected key", "", indentation},
		{"did not find expected '-' indicator", "", indentation},
		{"cannot start any token", "", firstCharacter},
		{"alphabetic or numeric character", "scanning an a", firstCharacter},
		{"unknown escape character", "", escape},
		{"unknown anchor", "", anchor},
		{tooDeep, "", depth},
	} {
		if strings.Contains(m, x.message) && strings.Contains(c, x.context) {
			return x.about
		}
	}
	return unknown
}

// character is the character of the file at n.
func (d *decoder) character(n *node) string {
	b := bytes.TrimPrefix(d.doc.text, []byte("\ufeff"))
	for range n.line - 1 {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	for range n.column - 1 {
		_, size := utf8.DecodeRune(b)
		b = b[size:]
	}
	r, size := utf8.DecodeRune(b)
	if size == 0 {
		return ""
	}
	return string(r)
}
