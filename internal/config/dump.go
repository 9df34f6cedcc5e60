package config

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const masked = "***"

// Dump writes the configuration as YAML as it stands in the file, in the same
// order, without comments and with aliases followed. References are written as
// they are and not as their values. What is decoded into an [airside.Secret],
// text under a key that names a secret (password, x-api-key, ...), and the
// password of a URL are written as ***. It is nil if c was not read from a file.
func (c *Config) Dump() []byte {
	if c.doc == nil {
		return nil
	}
	w := dumper{hidden: map[[2]int]bool{}}
	c.doc.root.scalars(func(n *node) bool {
		if n.secret {
			w.hidden[[2]int{n.line, n.column}] = true
		}
		return true
	})
	w.block(&c.doc.root, 0)
	return w.out.Bytes()
}

// A dumper writes YAML.
type dumper struct {
	out    bytes.Buffer
	hidden map[[2]int]bool // places of secrets: an alias shares the place of its anchor
}

func (w *dumper) indent(n int) {
	for range n {
		w.out.WriteByte(' ')
	}
}

// block writes n, with the lines after its first indented as told, and ends the
// line.
func (w *dumper) block(n *node, indent int) {
	if n.scalar() || n.flow || len(n.in) == 0 {
		w.inline(n, indent, false)
		w.out.WriteByte('\n')
		return
	}
	if n.kind == list {
		for i := range n.in {
			if i > 0 {
				w.indent(indent)
			}
			w.out.WriteString("- ")
			w.block(&n.in[i], indent+2)
		}
		return
	}
	for i := 0; i < len(n.in); i += 2 {
		if i > 0 {
			w.indent(indent)
		}
		w.out.WriteString(plainOrQuoted(n.in[i].text, true) + ":")
		v := &n.in[i+1]
		if v.scalar() || v.flow || len(v.in) == 0 {
			w.out.WriteByte(' ')
		} else {
			w.out.WriteByte('\n')
			w.indent(indent + 2)
		}
		w.block(v, indent+2)
	}
}

// inline writes n in one line, or as a block of text if it is not in brackets.
func (w *dumper) inline(n *node, indent int, brackets bool) {
	switch n.kind {
	case list:
		w.out.WriteByte('[')
		for i := range n.in {
			if i > 0 {
				w.out.WriteString(", ")
			}
			w.inline(&n.in[i], indent, true)
		}
		w.out.WriteByte(']')
	case mapping:
		w.out.WriteByte('{')
		for i := 0; i < len(n.in); i += 2 {
			if i > 0 {
				w.out.WriteByte(',')
			}
			w.out.WriteString(" " + plainOrQuoted(n.in[i].text, true) + ": ")
			w.inline(&n.in[i+1], indent, true)
		}
		if len(n.in) > 0 {
			w.out.WriteByte(' ')
		}
		w.out.WriteByte('}')
	default:
		w.text(n, indent, brackets)
	}
}

// text writes a scalar.
func (w *dumper) text(n *node, indent int, brackets bool) {
	s := n.text
	if n.raw != "" {
		s = n.raw
	}
	switch {
	case n.kind == null:
		w.out.WriteString("null")
		return
	case w.hidden[[2]int{n.line, n.column}]:
		w.out.WriteString(plainOrQuoted(withoutLiterals(n), brackets))
		return
	case n.kind != text:
		w.out.WriteString(s)
		return
	}
	s = withoutPassword(s)
	lines, ended := strings.CutSuffix(s, "\n")
	if brackets || !literal(lines) {
		w.out.WriteString(plainOrQuoted(s, brackets))
		return
	}
	w.out.WriteByte('|')
	if !ended {
		w.out.WriteByte('-')
	}
	for line := range strings.SplitSeq(lines, "\n") {
		w.out.WriteByte('\n')
		if line != "" {
			w.indent(indent)
			w.out.WriteString(line)
		}
	}
}

// literal reports whether s can be written as a block of lines.
func literal(s string) bool {
	if !strings.Contains(s, "\n") || strings.HasSuffix(s, "\n") || strings.ContainsAny(s[:1], " \n\t") {
		return false
	}
	return !strings.Contains(s, "\n\t") && !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !printable(r) })
}

// withoutLiterals is a secret without what is written of it: only its references
// are left, without their defaults.
func withoutLiterals(n *node) string {
	if !n.ref {
		return masked
	}
	var b strings.Builder
	for rest := n.raw; rest != ""; {
		before, after, ok := strings.Cut(rest, "${")
		if strings.HasSuffix(before, "$") || !ok {
			before, ok = rest, false
		}
		if before != "" {
			b.WriteString(masked)
		}
		if !ok {
			break
		}
		inner, rest2, _ := strings.Cut(after, "}")
		name, _, fallback := strings.Cut(inner, ":-")
		b.WriteString("${" + name)
		if fallback {
			b.WriteString(":-" + masked)
		}
		b.WriteByte('}')
		rest = rest2
	}
	return b.String()
}

var userinfo = regexp.MustCompile(`(://(?:\$\{[^}]*\}|[^/\s:@?#])*:)(?:\$\{[^}]*\}|[^/\s@])+@`)

// withoutPassword masks the password of a URL (RFC 3986 section 3.2.1), unless
// it is a reference.
func withoutPassword(s string) string {
	if !strings.Contains(s, "://") || !strings.Contains(s, "@") {
		return s
	}
	return userinfo.ReplaceAllStringFunc(s, func(m string) string {
		parts := userinfo.FindStringSubmatch(m)
		if password := m[len(parts[1]) : len(m)-1]; strings.HasPrefix(password, "${") && strings.Index(password, "}") == len(password)-1 &&
			!strings.Contains(password, ":-") {
			return m
		}
		return parts[1] + masked + "@"
	})
}

var (
	plainForm = regexp.MustCompile(`^[A-Za-z0-9_/.][A-Za-z0-9_/.:@+*%?=&~^$()<>;|!-]*( [A-Za-z0-9_/.@+*%?=&~^$()<>;|!-][A-Za-z0-9_/.:@+*%?=&~^$()<>;|!-]*)*$`)
	dots      = regexp.MustCompile(`^\.\.\.`)
)

// plainOrQuoted writes text so that it is read as the same text: plain where
// that is safe, in single quotes where it reads better, in double quotes else.
func plainOrQuoted(s string, brackets bool) string {
	safe := len(s) < 1000 && plainForm.MatchString(s) && !strings.HasSuffix(s, ":") && !strings.Contains(s, ": ") && !dots.MatchString(s)
	if brackets && strings.Contains(s, " ") {
		safe = false
	}
	if safe && kindOf(s) == text {
		return s
	}
	if strings.ContainsAny(s, `"\`) && !strings.ContainsFunc(s, func(r rune) bool { return !printable(r) }) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case printable(r):
			b.WriteRune(r)
		default:
			b.WriteString(escaped(r))
		}
	}
	b.WriteByte('"')
	return b.String()
}

// printable reports whether r may stand in a quoted text as it is.
func printable(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && r != utf8.RuneError && r != '\u2028' && r != '\u2029' && !unicode.IsSpace(r)
}

// escaped writes r as an escape of double quotes (YAML 1.2.2 section 5.7).
func escaped(r rune) string {
	const hex = "0123456789ABCDEF"
	form, digits := `\x`, 2
	switch {
	case r > 0xFFFF:
		form, digits = `\U`, 8
	case r > 0xFF:
		form, digits = `\u`, 4
	}
	b := []byte(form)
	for i := digits - 1; i >= 0; i-- {
		b = append(b, hex[r>>(4*i)&0xF])
	}
	return string(b)
}
