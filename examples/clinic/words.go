package clinic

import (
	"slices"
	"strings"
	"unicode"
)

// reach is how many words after a negation are taken as negated: "no fever",
// "not really any chest pain".
const reach = 4

// A sentence is the words of a sentence, in lower case. An empty word is a pause:
// a comma, or a word such as "but" or "and".
type sentence []string

// sentences splits text where a sentence or a line ends.
func sentences(text string) []sentence {
	var all []sentence
	var current sentence
	var word strings.Builder
	flush := func() {
		if word.Len() == 0 {
			return
		}
		current = append(current, pauseOrWord(word.String()))
		word.Reset()
	}
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			word.WriteRune(r)
		case (r == '\'' || r == '’') && word.Len() > 0:
			word.WriteByte('\'')
		case strings.ContainsRune(".!?;\n", r):
			flush()
			if len(current) > 0 {
				all = append(all, current)
				current = nil
			}
		case strings.ContainsRune(",:()", r):
			flush()
			current = append(current, "")
		default:
			flush()
		}
	}
	flush()
	if len(current) > 0 {
		all = append(all, current)
	}
	return all
}

func pauseOrWord(w string) string {
	switch w {
	case "but", "although", "though", "however", "yet", "and": // "no fever and chest pain": better once too urgent
		return ""
	}
	return strings.TrimRight(w, "'")
}

// A term is one or more words; a last word that ends in * matches every word
// that begins so.
type term []string

func newTerm(text string) term { return strings.Fields(strings.ToLower(text)) }

// in reports whether t stands in s without a negation before it.
func (t term) in(s sentence, negations []string) bool {
	for i := 0; i+len(t) <= len(s); i++ {
		if t.matches(s[i:]) && !negated(s[:i], negations) {
			return true
		}
	}
	return false
}

func (t term) matches(s sentence) bool {
	for i, want := range t {
		prefix, open := strings.CutSuffix(want, "*")
		if open && !strings.HasPrefix(s[i], prefix) || !open && s[i] != want {
			return false
		}
	}
	return true
}

// negated reports whether one of the last words before, up to a pause, denies
// what follows. "Not only" and "not just" deny nothing.
func negated(before sentence, negations []string) bool {
	for i := len(before) - 1; i >= 0 && i >= len(before)-reach; i-- {
		switch {
		case before[i] == "":
			return false
		case !slices.Contains(negations, before[i]):
		case i+1 < len(before) && (before[i+1] == "only" || before[i+1] == "just"):
		default:
			return true
		}
	}
	return false
}
