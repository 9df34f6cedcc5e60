package discover

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// An answer is what a DNS message says to one question.
type answer struct {
	code      dnsmessage.RCode
	truncated bool
	addrs     []netip.Addr
	srv       []srvRecord
	glue      []glue        // of the additional section
	ttl       time.Duration // the least of all records that were followed; of a denial, that of the SOA
}

type srvRecord struct {
	target   string // a full name, in lower case
	port     uint16
	priority uint16
	weight   uint16
}

type glue struct {
	name string
	addr netip.Addr
	ttl  time.Duration
}

// Bounds of one message.
const (
	maxAnswers  = 2048 // records that are looked at
	maxAliases  = 16   // CNAMEs that are followed
	denialTTL   = 5 * time.Second
	udpPayload  = 1232 // what goes through everywhere in one piece (DNS flag day 2020)
	maxNameText = 254
)

var (
	errNotOurs = errors.New("the message is no answer to the question")
	errName    = errors.New("is not a name that DNS can look up")
)

// fullName checks name and returns it as DNS writes it: with a dot at the end.
func fullName(name string) (dnsmessage.Name, error) {
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	if len(name) > maxNameText || name == "." {
		return dnsmessage.Name{}, errName
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return dnsmessage.Name{}, errName
		}
	}
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return n, errName
	}
	return n, nil
}

// A record is one that is of use, whatever its section.
type record struct {
	name string
	ttl  time.Duration
	body dnsmessage.ResourceBody
}

// parseAnswer reads a message that should answer q under id. What is no answer to it is
// errNotOurs: somebody else may have sent it, and the real one may still come (RFC 5452
// section 9.1).
func parseAnswer(msg []byte, id uint16, q dnsmessage.Question) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 {
		return answer{}, errNotOurs
	}
	got, err := p.AllQuestions()
	if err != nil || len(got) > 1 || len(got) == 0 && h.RCode != dnsmessage.RCodeFormatError {
		return answer{}, errNotOurs
	}
	if len(got) == 1 && (got[0].Type != q.Type || got[0].Class != q.Class || !strings.EqualFold(got[0].Name.String(), q.Name.String())) {
		return answer{}, errNotOurs
	}
	a := answer{code: h.RCode, truncated: h.Truncated, ttl: denialTTL}
	if h.Truncated || h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		return a, nil
	}
	answers, err := records(p.AnswerHeader, p.Answer, p.SkipAnswer)
	if err != nil {
		return answer{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	authority, err := records(p.AuthorityHeader, p.Authority, p.SkipAuthority)
	if err != nil {
		return answer{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	more, err := records(p.AdditionalHeader, p.Additional, p.SkipAdditional)
	if err != nil {
		return answer{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	a.collect(strings.ToLower(q.Name.String()), q.Type, answers)
	a.deny(authority)
	for _, r := range more {
		if addr, ok := address(r.body); ok {
			a.glue = append(a.glue, glue{r.name, addr, r.ttl})
		}
	}
	return a, nil
}

// records reads a section. Types that are of no use are not even parsed.
func records(head func() (dnsmessage.ResourceHeader, error), read func() (dnsmessage.Resource, error), skip func() error) ([]record, error) {
	var out []record
	for range maxAnswers {
		h, err := head()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		useful := h.Class == dnsmessage.ClassINET
		switch h.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeSRV, dnsmessage.TypeSOA:
		default:
			useful = false
		}
		if !useful {
			if err := skip(); err != nil {
				return nil, err
			}
			continue
		}
		r, err := read()
		if err != nil {
			return nil, err
		}
		out = append(out, record{strings.ToLower(h.Name.String()), lifetime(h.TTL), r.Body})
	}
	return nil, errors.New("it holds too many records")
}

// lifetime is a TTL of the wire. One with the highest bit is 0 (RFC 2181 section 8).
func lifetime(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func address(b dnsmessage.ResourceBody) (netip.Addr, bool) {
	var a netip.Addr
	switch b := b.(type) {
	case *dnsmessage.AResource:
		a = netip.AddrFrom4(b.A)
	case *dnsmessage.AAAAResource:
		a = netip.AddrFrom16(b.AAAA).Unmap()
	}
	return a, usable(a)
}

// collect takes the records of the question's type that name has, or that what it is an
// alias of has.
func (a *answer) collect(name string, typ dnsmessage.Type, rs []record) {
	ttl, found := time.Duration(-1), false
	least := func(d time.Duration) {
		if ttl < 0 || d < ttl {
			ttl = d
		}
	}
	for range maxAliases {
		i := slices.IndexFunc(rs, func(r record) bool {
			_, alias := r.body.(*dnsmessage.CNAMEResource)
			return alias && r.name == name
		})
		if i < 0 {
			break
		}
		if c, ok := rs[i].body.(*dnsmessage.CNAMEResource); ok {
			least(rs[i].ttl)
			name = strings.ToLower(c.CNAME.String())
		}
	}
	for _, r := range rs {
		if r.name != name {
			continue
		}
		if addr, ok := address(r.body); ok && (typ == dnsmessage.TypeA) == addr.Is4() && typ != dnsmessage.TypeSRV {
			a.addrs, found = append(a.addrs, addr), true
			least(r.ttl)
		}
		if s, ok := r.body.(*dnsmessage.SRVResource); ok && typ == dnsmessage.TypeSRV {
			a.srv = append(a.srv, srvRecord{strings.ToLower(s.Target.String()), s.Port, s.Priority, s.Weight})
			found = true
			least(r.ttl)
		}
	}
	if found {
		a.ttl = ttl
		slices.SortFunc(a.srv, func(a, b srvRecord) int {
			return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.target, b.target), cmp.Compare(a.port, b.port))
		})
	}
}

// deny takes how long a denial lasts from the SOA (RFC 2308 section 5).
func (a *answer) deny(authority []record) {
	if len(a.addrs)+len(a.srv) > 0 {
		return
	}
	for _, r := range authority {
		if s, ok := r.body.(*dnsmessage.SOAResource); ok {
			a.ttl = min(r.ttl, lifetime(s.MinTTL))
			return
		}
	}
}

// empty reports whether a denies that there is anything.
func (a *answer) empty() bool { return len(a.addrs)+len(a.srv) == 0 }
