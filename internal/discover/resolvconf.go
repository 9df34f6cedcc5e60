package discover

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A resolvConf says how names are looked up: what resolv.conf(5) says.
type resolvConf struct {
	servers  []string // host:port
	search   []string // without dots at the ends
	ndots    int
	timeout  time.Duration // of one try
	attempts int           // with every server
	rotate   bool
}

// Bounds of resolvConf. The system's own resolver looks at three servers and six names.
const (
	maxServers   = 3
	maxSearch    = 32
	maxNdots     = 15
	maxTimeout   = 10 * time.Second
	maxAttempts  = 5
	maxSmallFile = 1 << 20 // of resolv.conf, of hosts, of a file of endpoints
)

// readResolvConf reads the file at path. Without it, or without servers in it, the server
// is that of this machine, as resolv.conf(5) has it.
func readResolvConf(path string) (resolvConf, error) {
	f, err := os.Open(path) //nolint:gosec // the system's file
	if errors.Is(err, os.ErrNotExist) {
		return parseResolvConf(strings.NewReader(""))
	}
	if err != nil {
		return resolvConf{}, fmt.Errorf("reading how names are looked up: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	return parseResolvConf(io.LimitReader(f, maxSmallFile))
}

func parseResolvConf(r io.Reader) (resolvConf, error) {
	c := resolvConf{ndots: 1, timeout: 2 * time.Second, attempts: 2} // the system's 5 s are long for who asks every few
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text, _, _ = strings.Cut(text, ";")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(words[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, net.JoinHostPort(words[1], "53"))
			}
		case "domain":
			c.search = searchList(words[1:2])
		case "search": // the last of search and domain counts
			c.search = searchList(words[1:])
		case "options":
			c.options(words[1:])
		}
	}
	if err := lines.Err(); err != nil {
		return resolvConf{}, fmt.Errorf("reading how names are looked up: %w", err)
	}
	if len(c.servers) == 0 {
		c.servers = []string{"127.0.0.1:53", "[::1]:53"}
	}
	return c, nil
}

func searchList(names []string) []string {
	var out []string
	for _, n := range names {
		n = strings.Trim(n, ".")
		if _, err := fullName(n); err == nil && n != "" && len(out) < maxSearch {
			out = append(out, n)
		}
	}
	return out
}

func (c *resolvConf) options(words []string) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, ":")
		n, err := strconv.Atoi(value)
		switch {
		case name == "rotate":
			c.rotate = true
		case err != nil || n < 0:
		case name == "ndots":
			c.ndots = min(n, maxNdots)
		case name == "timeout":
			c.timeout = min(max(time.Duration(n)*time.Second, time.Second), maxTimeout)
		case name == "attempts":
			c.attempts = min(max(n, 1), maxAttempts)
		}
	}
}

// candidates lists the full names that name may stand for, in the order in which they
// are asked for (resolv.conf(5): search, ndots).
func (c *resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, s := range c.search {
		out = append(out, name+"."+s+".")
	}
	if strings.Count(name, ".") >= c.ndots {
		return slices.Insert(out, 0, name+".")
	}
	return append(out, name+".")
}

// hostsAddrs finds name in a file of the form of hosts(5). Localhost is there even if it
// is not (RFC 6761 section 6.3).
func hostsAddrs(path, name string) ([]netip.Addr, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	out, err := scanHosts(path, name)
	if len(out) == 0 && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	return out, err
}

func scanHosts(path, name string) ([]netip.Addr, error) {
	f, err := os.Open(path) //nolint:gosec // the system's file
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the names of hosts: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	var out []netip.Addr
	lines := bufio.NewScanner(io.LimitReader(f, maxSmallFile))
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(strings.TrimSuffix(w, "."), name) }) {
			continue
		}
		if a, err := netip.ParseAddr(words[0]); err == nil && usable(a) {
			out = append(out, a)
		}
	}
	return out, lines.Err()
}
