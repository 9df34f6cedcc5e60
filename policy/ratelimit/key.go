package ratelimit

import (
	"errors"
	"hash/maphash"
	"net/netip"

	"github.com/airside-gateway/airside"
)

// A key stands for what is counted together: a hash of it under two seeds that
// nobody outside knows. With 128 bits no two of them meet, and what clients send
// is neither kept nor can fill the memory. The zero key stands for nothing.
type key [2]uint64

// A kind keeps a caller who is called like an address apart from that address.
type kind uint64

const (
	byCaller kind = iota + 1
	byAddress
	byText
)

func (t *table) text(what kind, s string) key {
	return key{maphash.String(t.seeds[0], s), maphash.String(t.seeds[1], s)}.of(what)
}

func (k key) of(what kind) key {
	k[0] ^= uint64(what)
	if (k == key{}) {
		k[1] = 1
	}
	return k
}

// key says for whom x counts. An error is the client's fault.
func (p *policy) key(x *airside.Exchange) (key, error) {
	if p.by != nil {
		text, err := p.by.Text(x)
		if e, ok := errors.AsType[*airside.Error](err); ok {
			return key{}, e
		}
		return p.table.text(byText, text), nil // empty, and counted together, if it came to nothing
	}
	if x.Caller.ID != "" {
		return p.table.text(byCaller, x.Caller.ID), nil
	}
	return p.table.address(x.Client.Addr), nil
}

// nat64 is where translators put clients that speak IPv4 (RFC 6052 section 2.1).
// Its last 32 bits tell them apart.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// address makes a key of an IP address. What is no address, as on a Unix socket,
// is taken as it is.
func (t *table) address(s string) key {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return t.text(byAddress, s)
	}
	a = a.Unmap().WithZone("")
	b := a.As16()
	if a.Is6() && !nat64.Contains(a) {
		clear(b[8:])
	}
	return key{maphash.Bytes(t.seeds[0], b[:]), maphash.Bytes(t.seeds[1], b[:])}.of(byAddress)
}
