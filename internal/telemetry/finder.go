package telemetry

import (
	"bytes"
	"math"
	"unicode/utf8"
)

// A finder finds whether a line of JSON holds one of many words inside its strings, in
// less than a look at each byte: the algorithm of Wu and Manber (A fast algorithm for
// multi-pattern searching, 1994) with pairs of bytes. It may find one that is not there.
type finder struct {
	least int              // the length of the shortest word
	skip  [pairs]uint8     // how far a pair of bytes is from the end of any word's first least bytes
	words map[int][][]byte // by the pair at that end
}

const pairs = 1 << 12

func pair(a, b byte) int { return (int(a)<<4 ^ int(b)) & (pairs - 1) }

// newFinder returns a finder of words, or nil if it could miss one: a word that is not
// UTF-8 may be a part of a character in a line.
func newFinder(words []string) *finder {
	f := &finder{least: math.MaxUint8, words: map[int][][]byte{}}
	for _, w := range words {
		if len(w) < 2 || !utf8.ValidString(w) {
			return nil
		}
		f.least = min(f.least, len(w))
	}
	for i := range f.skip {
		f.skip[i] = uint8(f.least - 1) //nolint:gosec // at most 254
	}
	for _, word := range words {
		w := appendEscaped(nil, word)
		for i := 1; i < f.least; i++ {
			at := &f.skip[pair(w[i-1], w[i])]
			*at = min(*at, uint8(f.least-1-i)) //nolint:gosec // at most 253
		}
		end := pair(w[f.least-2], w[f.least-1])
		f.words[end] = append(f.words[end], w)
	}
	return f
}

// in reports whether a word is in line.
func (f *finder) in(line []byte) bool {
	for i := f.least - 1; i < len(line); {
		p := pair(line[i-1], line[i])
		if skip := int(f.skip[p]); skip > 0 {
			i += skip
			continue
		}
		for _, w := range f.words[p] {
			if bytes.HasPrefix(line[i-f.least+1:], w) {
				return true
			}
		}
		i++
	}
	return false
}
