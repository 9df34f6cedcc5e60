package discover

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A resolver asks DNS servers, because the resolver of the standard library does not
// tell how long an answer may be used. It holds no state: every lookup reads anew how
// names are looked up.
type resolver struct {
	servers []string // host:port, in the place of the system's
	conf    string   // path of resolv.conf
	hosts   string   // path of hosts
}

// systemResolver is one that looks names up as this machine does, but for servers, if
// there are any.
func systemResolver(servers []string) resolver {
	return resolver{servers: servers, conf: "/etc/resolv.conf", hosts: "/etc/hosts"}
}

// A denial says that there is no such name, or nothing of the type at the name.
type denial struct {
	name string
	ttl  time.Duration
}

func (d *denial) Error() string { return fmt.Sprintf("DNS knows nothing of this kind at %q", d.name) }

// lookup asks for the records of any of types at name, as it is or with what the search
// list appends. The first type that there is something of is the answer, all of them if
// all is set. The error is a *denial only if everything that was asked for was denied.
func (r *resolver) lookup(ctx context.Context, name string, all bool, types ...dnsmessage.Type) (answer, error) {
	conf, err := readResolvConf(r.conf)
	if err != nil {
		return answer{}, err
	}
	if len(r.servers) > 0 {
		conf.servers = r.servers
	}
	var failed error
	denied := &denial{name: name, ttl: -1}
	for _, full := range conf.candidates(name) {
		a, err := r.ask(ctx, &conf, full, all, types)
		if err == nil {
			return a, nil
		}
		if d, ok := errors.AsType[*denial](err); ok {
			if denied.ttl < 0 || d.ttl < denied.ttl {
				denied.ttl = d.ttl
			}
			continue
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	if failed != nil {
		return answer{}, failed
	}
	return answer{}, denied
}

// ask asks for one full name.
func (r *resolver) ask(ctx context.Context, conf *resolvConf, full string, all bool, types []dnsmessage.Type) (answer, error) {
	name, err := fullName(full)
	if err != nil {
		return answer{}, fmt.Errorf("%q %w", full, err)
	}
	var whole answer
	denied := &denial{name: full, ttl: -1}
	for _, typ := range types {
		a, err := exchange(ctx, conf, dnsmessage.Question{Name: name, Type: typ, Class: dnsmessage.ClassINET})
		if err != nil {
			return answer{}, err
		}
		if a.empty() {
			if denied.ttl < 0 || a.ttl < denied.ttl {
				denied.ttl = a.ttl
			}
			if a.code == dnsmessage.RCodeNameError {
				break // there is nothing of any type (RFC 8020)
			}
			continue
		}
		if !all {
			return a, nil
		}
		if whole.empty() || a.ttl < whole.ttl {
			whole.ttl = a.ttl
		}
		whole.addrs, whole.srv, whole.glue = append(whole.addrs, a.addrs...), append(whole.srv, a.srv...), append(whole.glue, a.glue...)
	}
	if whole.empty() {
		return answer{}, denied
	}
	return whole, nil
}

// exchange asks the servers, one after the other and several times, until one answers or
// denies.
func exchange(ctx context.Context, conf *resolvConf, q dnsmessage.Question) (answer, error) {
	first := 0
	if conf.rotate {
		first = int(randomID()) % len(conf.servers)
	}
	var failed error
	for range conf.attempts {
		for i := range conf.servers {
			a, err := once(ctx, conf.servers[(first+i)%len(conf.servers)], conf.timeout, q)
			if err == nil {
				return a, nil
			}
			failed = fmt.Errorf("looking up %s: %w", q.Name.String(), err)
			if ctx.Err() != nil {
				return answer{}, failed
			}
		}
	}
	return answer{}, failed
}

// once asks one server once: over UDP, then over TCP if the answer is too long for that,
// and without EDNS if it does not understand that.
func once(ctx context.Context, server string, timeout time.Duration, q dnsmessage.Question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := over(ctx, "udp", server, q, true)
	edns := true
	if err == nil && (a.code == dnsmessage.RCodeFormatError || a.code == dnsmessage.RCodeNotImplemented) {
		edns = false
		a, err = over(ctx, "udp", server, q, false)
	}
	if err == nil && a.truncated {
		a, err = over(ctx, "tcp", server, q, edns)
	}
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("asking %s: %w", server, err)
	case a.truncated:
		return answer{}, fmt.Errorf("%s answers in part only, even over TCP", server)
	case a.code != dnsmessage.RCodeSuccess && a.code != dnsmessage.RCodeNameError:
		return answer{}, fmt.Errorf("%s answers %v", server, a.code)
	}
	return a, nil
}

// over makes one exchange of messages on a socket of its own, so that its port is as hard
// to guess as its id.
func over(ctx context.Context, network, server string, q dnsmessage.Question, edns bool) (answer, error) {
	id := randomID()
	msg, err := question(id, q, edns)
	if err != nil {
		return answer{}, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return answer{}, err
	}
	defer c.Close() //nolint:errcheck // everything was read
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		return overTCP(c, msg, id, q)
	}
	if _, err := c.Write(msg); err != nil {
		return answer{}, err
	}
	buf := make([]byte, 1<<16)
	for range maxStrays {
		n, err := c.Read(buf)
		if err != nil {
			return answer{}, err
		}
		a, err := parseAnswer(buf[:n], id, q)
		if !errors.Is(err, errNotOurs) {
			return a, err
		}
	}
	return answer{truncated: true}, nil // somebody is guessing, which does not help him over TCP (RFC 5452 section 9.2)
}

// maxStrays is how many messages over UDP may be none of an answer to one question.
const maxStrays = 50

// overTCP sends and reads a message with its length before it (RFC 7766 section 8).
func overTCP(c net.Conn, msg []byte, id uint16, q dnsmessage.Question) (answer, error) {
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil { //nolint:gosec // a question is short
		return answer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return answer{}, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, buf); err != nil {
		return answer{}, err
	}
	return parseAnswer(buf, id, q)
}

// question writes the message that asks q, with EDNS (RFC 6891) or without.
func question(id uint16, q dnsmessage.Question, edns bool) ([]byte, error) {
	m := dnsmessage.Message{
		ID: id, RecursionDesired: true,
		Questions: []dnsmessage.Question{q},
	}
	if edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(udpPayload, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	return m.Pack()
}

func randomID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint16(b[:])
}
