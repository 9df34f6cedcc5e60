package jq

// What the values that [Decode] makes take at most, in bytes, each rounded up to a
// size class of Go's allocator. An array that grows is copied to one that is up to
// twice as long, and an object of more than eight members to one of twice the room.
const (
	elementCost = 40      // of an array: an interface, its share of what append leaves free, and the copy
	arrayCost   = 24 + 24 // a slice, boxed; the first small arrays that append throws away
	objectCost  = 48      // an empty map
	groupCost   = 288     // the first member of an object makes room for eight
	memberCost  = 120     // each member beyond: its share of a table, of what is free there, and the copy
	textCost    = 32      // a string, boxed, and what rounding up adds to its bytes
	nameCost    = 16      // a string in a map
	numberCost  = 16      // an int, boxed, and the text it was read from
	digitsCost  = 48      // a number whose text is kept
	firstGroup  = 8       // members that the first room of a map holds
	intDigits   = 18      // an int has no more for certain
)

// A Measure says how much memory [Decode] may take for a text, without decoding it.
// Write it the text, in any pieces; the zero Measure is ready. It is meant for text
// that nobody has looked at: what is no JSON is measured too, no less than what
// Decode makes of it before it finds out.
type Measure struct {
	size   int64 // bytes written
	memory int64
	values int
	text   int64 // bytes of strings

	over    bool // Decode goes no further: it nests too deep, or something follows the value
	depth   int  // of levels
	levels  [MaxDepth + 1]level
	in      lexeme
	escaped bool // the byte before was a backslash in a string
	length  int  // of the number so far
	kept    bool // the text of the number is kept
}

// A level is an array or an object that is being read.
type level struct {
	object  bool
	name    bool // the next string is a name
	members int
}

// A lexeme is what is being read.
type lexeme uint8

const (
	between lexeme = iota
	inName
	inString
	inNumber
	inWord // true, false, null
)

// Measured is the [Measure] of a whole text.
func Measured(text []byte) *Measure {
	m := &Measure{}
	_, _ = m.Write(text)
	return m
}

// Size is how many bytes were written.
func (m *Measure) Size() int64 { return m.size }

// Values is how many values the text holds: arrays, objects and what is in them.
func (m *Measure) Values() int { return m.values }

// Memory is what the decoded values take at most, in bytes, and the text itself not
// included. It is an estimate from above: most texts take half of it.
func (m *Measure) Memory() int64 { return m.memory }

// Text is how many bytes its strings have, names included.
func (m *Measure) Text() int64 { return m.text }

// Write measures more of the text. It never fails.
func (m *Measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	for i := 0; i < len(p) && !m.over; i++ {
		if m.in == inName || m.in == inString {
			i = m.string(p, i)
			continue
		}
		m.byte(p[i])
	}
	return len(p), nil
}

// string goes on with a string from p[i] on, and returns where it stopped: at the
// last byte it took.
func (m *Measure) string(p []byte, i int) int {
	begin := i
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case m.escaped:
			m.escaped = false
		case c == '\\':
			m.escaped = true
		case c == '"':
			m.in = between
			m.took(i - begin)
			return i
		}
	}
	m.took(i - begin)
	return i - 1
}

// took counts bytes of a string.
func (m *Measure) took(n int) {
	m.memory += int64(n)
	m.text += int64(n)
}

// byte goes on with a byte that is in no string.
func (m *Measure) byte(c byte) {
	switch c {
	case '{', '[':
		m.begin(c == '{')
		return
	case '}', ']':
		m.in = between
		m.depth = max(m.depth-1, 0)
		return
	case ',':
		m.in = between
		m.levels[m.depth].name = m.levels[m.depth].object
		return
	case '"':
		m.quote()
		return
	case ':', ' ', '\t', '\n', '\r':
		m.in = between
		return
	}
	switch {
	case m.in == inWord:
	case m.in == inNumber:
		m.digit(c)
	case c == '-' || c >= '0' && c <= '9':
		m.value()
		m.in, m.length, m.kept = inNumber, 0, false
		m.memory += numberCost
		m.digit(c)
	default:
		m.value()
		m.in = inWord
	}
}

// begin enters an array or an object.
func (m *Measure) begin(object bool) {
	m.value()
	m.in = between
	m.memory += arrayCost
	if object {
		m.memory += objectCost - arrayCost
	}
	if m.depth == MaxDepth {
		m.over = true
		return
	}
	m.depth++
	m.levels[m.depth] = level{object: object, name: object}
}

// quote begins a string, which is a value or the name of one.
func (m *Measure) quote() {
	l := &m.levels[m.depth]
	if !l.name {
		m.value()
		m.in = inString
		m.memory += textCost
		return
	}
	m.in, l.name = inName, false
	m.memory += nameCost
	switch l.members++; {
	case l.members == 1:
		m.memory += groupCost
	case l.members > firstGroup:
		m.memory += memberCost
	}
}

// value counts a value; one in an array takes a place there.
func (m *Measure) value() {
	m.over = m.over || m.depth == 0 && m.values > 0
	m.values++
	if m.depth > 0 && !m.levels[m.depth].object {
		m.memory += elementCost
	}
}

// digit counts a byte of a number.
func (m *Measure) digit(c byte) {
	m.length++
	m.memory++
	if !m.kept && (m.length > intDigits || c == '.' || c == 'e' || c == 'E') {
		m.kept = true
		m.memory += digitsCost + int64(m.length)
	}
}
