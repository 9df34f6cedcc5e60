package edge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A proxied connection begins with a PROXY line that says who the client is, as
// haproxy.org's proxy-protocol.txt (versions 1 and 2) has it. The line is read by
// whoever first asks for the address or the data, so that accepting never waits.
type proxied struct {
	*conn
	timeout time.Duration

	once   sync.Once
	br     *bufio.Reader
	client net.Addr
	err    error
	begun  bool // something came after the line; for Read
}

var errProxyLine = errors.New("edge: the connection does not begin with a PROXY line")

func (p *proxied) handshake() {
	p.once.Do(func() {
		if p.timeout > 0 {
			_ = p.SetReadDeadline(time.Now().Add(p.timeout))
			defer func() { _ = p.SetReadDeadline(time.Time{}) }()
		}
		p.br = bufio.NewReaderSize(p.conn, 1<<10)
		p.client, p.err = readProxyLine(p.br)
		if p.err != nil {
			_ = p.Close()
		}
	})
}

// Read reads what follows the PROXY line.
func (p *proxied) Read(b []byte) (int, error) {
	p.handshake()
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.br.Read(b)
	if !p.begun && n > 0 {
		p.begun = true
		p.begins(b[:n])
	}
	return n, err
}

// Unread is the connection beneath, and what was read of it behind the line.
func (p *proxied) Unread() (net.Conn, []byte) {
	p.handshake()
	if p.err != nil {
		return p.conn, nil // it is closed
	}
	ahead, _ := p.br.Peek(p.br.Buffered()) // it is there
	return p.conn, ahead
}

// RemoteAddr is the client's address, as the proxy gives it.
func (p *proxied) RemoteAddr() net.Addr {
	p.handshake()
	if p.client != nil {
		return p.client
	}
	return p.Conn.RemoteAddr()
}

// signature begins a line of version 2.
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// readProxyLine reads a line of either version. The address is nil where the proxy
// speaks for itself (LOCAL, UNKNOWN).
func readProxyLine(br *bufio.Reader) (net.Addr, error) {
	head, err := br.Peek(len(signature))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProxyLine, err)
	}
	if bytes.Equal(head, signature) {
		return readProxyV2(br)
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return nil, errProxyLine
	}
	const longest = 107 // section 2.1, CRLF included
	var line []byte
	for len(line) < longest && !bytes.HasSuffix(line, []byte("\r\n")) {
		c, err := br.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errProxyLine, err)
		}
		line = append(line, c)
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return nil, errProxyLine
	}
	return parseProxyV1(strings.Split(text, " "))
}

func parseProxyV1(f []string) (net.Addr, error) {
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return nil, nil //nolint:nilnil // no address and no error: the proxy does not know
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return nil, errProxyLine
	}
	a, err := netip.ParseAddr(f[2])
	if err != nil || a.Zone() != "" || a.Is4() != (f[1] == "TCP4") {
		return nil, errProxyLine
	}
	port, err := netip.ParseAddrPort("0.0.0.0:" + f[4])
	if err != nil {
		return nil, errProxyLine
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port.Port())), nil
}

func readProxyV2(br *bufio.Reader) (net.Addr, error) {
	var head [16]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errProxyLine, err)
	}
	const longest = 4 << 10 // addresses and extensions; the format allows 64 KiB, nobody sends that
	n := int(binary.BigEndian.Uint16(head[14:]))
	if head[12]>>4 != 2 || n > longest {
		return nil, errProxyLine
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(br, rest); err != nil {
		return nil, fmt.Errorf("%w: %w", errProxyLine, err)
	}
	var size int
	switch command, family := head[12]&0xf, head[13]; {
	case command == 0 || command == 1 && family == 0:
		return nil, nil //nolint:nilnil // the proxy speaks for itself, or does not say
	case command == 1 && family == 0x11: // TCP over IPv4
		size = 4
	case command == 1 && family == 0x21: // TCP over IPv6
		size = 16
	default:
		return nil, errProxyLine
	}
	if n < 2*size+4 {
		return nil, errProxyLine
	}
	a, ok := netip.AddrFromSlice(rest[:size])
	if !ok {
		return nil, errProxyLine
	}
	port := binary.BigEndian.Uint16(rest[2*size:])
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)), nil
}
