// Package wire reads as much of HTTP/1.1 answers as a load generator must know,
// and no more: what it costs is taken from the machine that is measured.
package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
)

// Lengths of a body that are not a number of bytes.
const (
	Chunked = -1 // Transfer-Encoding: chunked
	Unknown = -2 // no framing at all
)

// ErrMalformed is an answer that is not HTTP/1.1, or not framed.
var ErrMalformed = errors.New("malformed answer")

// A Head is what counts of the head of an answer.
type Head struct {
	Status int
	Length int64 // of the body: bytes, Chunked or Unknown
	Close  bool  // the connection ends after the answer
}

// ReadHead reads the head of the next final answer; informational ones (1xx)
// are passed over. A line longer than the buffer of br is an error.
func ReadHead(br *bufio.Reader) (Head, error) {
	for {
		h, err := readOneHead(br)
		if err != nil || h.Status >= 200 {
			return h, err
		}
	}
}

func readOneHead(br *bufio.Reader) (Head, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return Head{}, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return Head{}, ErrMalformed
	}
	h := Head{Length: Unknown}
	if h.Status = number(line[9:12]); h.Status < 100 {
		return Head{}, ErrMalformed
	}
	for {
		line, err = br.ReadSlice('\n')
		if err != nil {
			return Head{}, err
		}
		if len(line) <= 2 {
			return h, nil
		}
		if err := h.field(line); err != nil {
			return Head{}, err
		}
	}
}

// field takes note of a header line, if it is one of the three that count.
func (h *Head) field(line []byte) error {
	switch line[0] | 0x20 {
	case 'c':
		if v, ok := Value(line, "content-length"); ok {
			n, err := strconv.ParseUint(string(v), 10, 63)
			if err != nil {
				return fmt.Errorf("%w: content-length", ErrMalformed)
			}
			if h.Length != Chunked {
				h.Length = int64(n)
			}
		} else if v, ok := Value(line, "connection"); ok {
			h.Close = h.Close || bytes.EqualFold(v, []byte("close"))
		}
	case 't':
		if v, ok := Value(line, "transfer-encoding"); ok && bytes.EqualFold(v, []byte("chunked")) {
			h.Length = Chunked
		}
	}
	return nil
}

// Value returns the value of a header line, if it is called name (lower case).
func Value(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}

// number reads three digits; -1 where they are none.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// SkipBody reads the body that h announces and drops it. It calls chunk, if that
// is not nil, with the size of each chunk of a chunked body, once the chunk has
// begun to arrive.
func SkipBody(br *bufio.Reader, h Head, chunk func(n int)) error {
	switch {
	case h.Length >= 0:
		return discard(br, h.Length)
	case h.Length == Unknown:
		return fmt.Errorf("%w: no framing", ErrMalformed)
	}
	for {
		n, err := chunkSize(br)
		if err != nil {
			return err
		}
		if n == 0 {
			return skipTrailer(br)
		}
		if chunk != nil {
			chunk(int(n))
		}
		if err := discard(br, n+2); err != nil {
			return err
		}
	}
}

func chunkSize(br *bufio.Reader) (int64, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 63)
	if err != nil || n > math.MaxInt32 {
		return 0, fmt.Errorf("%w: chunk size", ErrMalformed)
	}
	return int64(n), nil
}

func skipTrailer(br *bufio.Reader) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
	}
}

func discard(br *bufio.Reader, n int64) error {
	if n > math.MaxInt32+2 {
		return fmt.Errorf("%w: longer than anything asked for", ErrMalformed)
	}
	_, err := br.Discard(int(n))
	return err
}

// Loopback refuses an address (host:port) that is not of this machine: load is
// never sent, and nothing of a benchmark ever listens, anywhere else.
func Loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address such as 127.0.0.1:9000", address)
	}
	return nil
}
