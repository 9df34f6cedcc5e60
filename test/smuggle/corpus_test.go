package smuggle

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A class is a kind of cases: a row of docs/STRICTNESS.md.
type class struct {
	name, section, text string // section of RFC 9112 unless it names another
	file                string
	cases               []*attack
}

// An attack is one case of testdata. A file holds lines of these kinds:
//
//	class NAME | SECTION | TEXT   begins a class
//	case NAME                     begins a case of it
//	| TEXT                        a line of what is sent, CRLF at its end
//	> TEXT                        bytes of what is sent
//	*N TEXT                       the same, N times
//	post, get, next               POST /a and Host; GET /a and Host; a whole GET /next
//	end                           the client sends no more, and says so
//	< TEXT                        bytes of what the agent answers (testdata/answers)
//	later TEXT                    bytes that it sends when the exchange is over
//	close                         the agent closes the connection after its answer
//	head                          the client asks by HEAD
//	unused                        the connection to the agent must not be used again
//	want EXPECTATION              what must come of it, a line for each request
//	or EXPECTATION                another outcome that is as good: all its lines instead
//	std EXPECTATION               what the engine std makes of it instead
//	why TEXT                      why that is so, needed with std
//	seen NAME: VALUE              a field that the agent must see in the first request
//	never NAME                    a field that the agent must not see
//	# TEXT                        nothing
//
// TEXT is as between the quotes of a Go string, but that " stands for itself.
type attack struct {
	name, class, where string
	send, reply, later []byte
	ends               bool
	closes, head       bool // of answers, like all that follows
	unused             bool
	replies, stdReply  []string // outcomes of answers: any of them, of std any of the second
	want, or, std      []outcome
	why                string
	seen               []field
	never              []string
}

// An outcome is what becomes of a request:
//
//	200 METHOD TARGET "BODY"   it is forwarded so, and answered for itself
//	400                        it is refused; if the connection goes on, the next outcome holds
//	400 close                  it is refused and the connection closed, nothing follows
//	none                       the connection is closed without an answer, or with one for
//	                           nobody (499): the client has said that it sends no more
//
// Several statuses are separated by "|". A strict engine gives the first, which is the
// documented one; others may give another of them. With "none" among them each may.
//
// That of an answer is what the client gets of it: a status and the body in quotes, of
// which 502 needs none, or "cut".
type outcome struct {
	statuses       []int // 0 is none
	closes         bool
	method, target string
	body           string
	anyBody        bool
}

// allows reports whether an answer may have the status.
func (o *outcome) allows(status int, strict bool) bool {
	switch {
	case slices.Contains(o.statuses, 0):
		return status == 499 || slices.Contains(o.statuses, status)
	case strict:
		return status == o.statuses[0]
	}
	return slices.Contains(o.statuses, status)
}

func (o *outcome) String() string {
	if o.method != "" {
		return fmt.Sprintf("%v %s %s %q", o.statuses, o.method, o.target, o.body)
	}
	return fmt.Sprintf("%v close=%v", o.statuses, o.closes)
}

// corpus reads the files of a folder of testdata.
func corpus(t testing.TB, dir string) []*class {
	t.Helper()
	files, err := filepath.Glob("testdata/" + dir + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var out []*class
	names := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := parser{file: filepath.Base(f)}
		sc := bufio.NewScanner(bytes.NewReader(b))
		for n := 1; sc.Scan(); n++ {
			if err := p.line(sc.Text(), n); err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
		}
		if err := sc.Err(); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, p.classes...)
		for _, c := range p.classes {
			for _, a := range c.cases {
				if full := c.name + "/" + a.name; names[full] {
					t.Fatalf("%s: there are two cases %s", a.where, full)
				}
				names[c.name+"/"+a.name] = true
				if len(a.want)+len(a.replies) == 0 || len(a.std)+len(a.stdReply) > 0 && a.why == "" || len(a.send) == 0 && a.reply == nil {
					t.Fatalf("%s: case %s has no want, nothing to send, or std without why", a.where, a.name)
				}
			}
		}
	}
	return out
}

type parser struct {
	file    string
	classes []*class
	attack  *attack
}

func (p *parser) line(s string, n int) error {
	word, rest, _ := strings.Cut(s, " ")
	switch {
	case s == "" || word == "#":
		return nil
	case word == "class":
		part := strings.Split(rest, "|")
		if len(part) != 3 {
			return fmt.Errorf("a class has three parts")
		}
		p.classes = append(p.classes, &class{name: strings.TrimSpace(part[0]), section: strings.TrimSpace(part[1]), text: strings.TrimSpace(part[2]), file: p.file})
		return nil
	case len(p.classes) == 0:
		return fmt.Errorf("no class yet")
	case word == "case":
		c := p.classes[len(p.classes)-1]
		p.attack = &attack{name: rest, class: c.name, where: p.file + ":" + strconv.Itoa(n)}
		c.cases = append(c.cases, p.attack)
		return nil
	case p.attack == nil:
		return fmt.Errorf("no case yet")
	}
	return p.attack.line(word, rest)
}

const (
	postHead = "POST /a HTTP/1.1\r\nHost: clinic.example\r\n"
	getHead  = "GET /a HTTP/1.1\r\nHost: clinic.example\r\n"
	nextGet  = "GET /next HTTP/1.1\r\nHost: clinic.example\r\n\r\n"
)

func (a *attack) line(word, rest string) error {
	var into *[]outcome
	if a.reply != nil && a.answerLine(word, rest) {
		return nil
	}
	switch word {
	case "|":
		return a.add(&a.send, rest, 1, "\r\n")
	case ">":
		return a.add(&a.send, rest, 1, "")
	case "<":
		if a.reply == nil {
			a.reply = []byte{} // it may stay empty: the agent says nothing
		}
		return a.add(&a.reply, rest, 1, "")
	case "later":
		return a.add(&a.later, rest, 1, "")
	case "post":
		a.send = append(a.send, postHead...)
		return nil
	case "get":
		a.send = append(a.send, getHead...)
		return nil
	case "next":
		a.send = append(a.send, nextGet...)
		return nil
	case "end":
		a.ends = true
		return nil
	case "why":
		a.why = rest
		return nil
	case "seen":
		name, value, _ := strings.Cut(rest, ": ")
		a.seen = append(a.seen, field{name, value})
		return nil
	case "never":
		a.never = append(a.never, rest)
		return nil
	case "want":
		into = &a.want
	case "or":
		into = &a.or
	case "std":
		into = &a.std
	default:
		return a.repeat(word, rest)
	}
	o, err := parseOutcome(rest)
	*into = append(*into, o)
	return err
}

// answerLine reads what a line says about an answer, if it does.
func (a *attack) answerLine(word, rest string) bool {
	switch word {
	case "close":
		a.closes = true
	case "head":
		a.head = true
	case "unused":
		a.unused = true
	case "want", "or":
		a.replies = append(a.replies, rest)
	case "std":
		a.stdReply = append(a.stdReply, rest)
	default:
		return false
	}
	return true
}

func (a *attack) repeat(word, rest string) error {
	count, ok := strings.CutPrefix(word, "*")
	n, err := strconv.Atoi(count)
	if !ok || err != nil {
		return fmt.Errorf("no such line: %s", word)
	}
	if a.reply != nil {
		return a.add(&a.reply, rest, n, "")
	}
	return a.add(&a.send, rest, n, "")
}

func (*attack) add(to *[]byte, text string, times int, end string) error {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(text, `\"`, `"`), `"`, `\"`) + `"`)
	*to = append(*to, strings.Repeat(s+end, times)...)
	return err
}

func parseOutcome(s string) (outcome, error) {
	var o outcome
	word, rest, _ := strings.Cut(s, " ")
	for n := range strings.SplitSeq(word, "|") {
		status, err := strconv.Atoi(n)
		if err != nil && n != "none" {
			return o, fmt.Errorf("the outcome %q", s)
		}
		o.statuses = append(o.statuses, status)
	}
	if rest == "close" || rest == "" {
		o.closes = rest == "close" || slices.Contains(o.statuses, 0)
		return o, nil
	}
	part := strings.SplitN(rest, " ", 3)
	if len(part) != 3 {
		return o, fmt.Errorf("the outcome %q", s)
	}
	o.method, o.target = part[0], part[1]
	if o.anyBody = part[2] == "*"; o.anyBody {
		return o, nil
	}
	var err error
	o.body, err = strconv.Unquote(part[2])
	return o, err
}
