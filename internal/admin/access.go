package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/config"
)

// A class says who may use a route.
type class string

// The classes. A route without one is served to nobody.
const (
	everyone  class = "everyone"  // who reaches the address: it tells nothing
	operators class = "operators" // who shows the token; without one, who is on the machine itself
	trusted   class = "trusted"   // who shows the token, always
)

// credentials are what the configuration asks for. They are replaced whole.
type credentials struct {
	token *[sha256.Size]byte // hash of it; nil if there is none
	tls   *tls.Config        // nil for plain
}

// newCredentials reads the files that c names.
func newCredentials(c *config.Admin) (*credentials, error) {
	out := &credentials{}
	if c.Token != nil {
		sum := sha256.Sum256([]byte(string(*c.Token)))
		out.token = &sum
	}
	if c.TLS != nil {
		p := &pair{cert: c.TLS.Cert, key: c.TLS.Key}
		if _, err := p.certificate(nil); err != nil {
			return nil, fmt.Errorf("the certificate of the administration: %w", err)
		}
		out.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.certificate, NextProtos: []string{"http/1.1"}}
	}
	return out, nil
}

// A pair is a certificate that is read anew when its files have changed.
type pair struct {
	cert, key string

	mu   sync.Mutex
	live *tls.Certificate
	seen [2]stamp
}

// A stamp tells a file from what it was before.
type stamp struct {
	changed time.Time
	size    int64
}

// certificate is the newest that is valid.
func (p *pair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now [2]stamp
	for i, f := range [2]string{p.cert, p.key} {
		if st, err := os.Stat(f); err == nil {
			now[i] = stamp{st.ModTime(), st.Size()}
		}
	}
	if p.live != nil && now == p.seen {
		return p.live, nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err == nil {
		p.live, p.seen = &c, now
	}
	if p.live == nil {
		return nil, err
	}
	return p.live, nil // the old one, where the files are being replaced
}

// admit says whether r may use a route of that class: nil if so.
func (s *Server) admit(c class, r *http.Request) *problem {
	// What a web page could send by way of an operator's browser: a foreign Origin, or a
	// Host that some DNS name was made to stand for (DNS rebinding). It does not bind
	// probes, which bring no Origin and may name any host where the address is not of the
	// loopback interface.
	if len(r.Header["Origin"]) > 0 {
		return &problem{status: http.StatusForbidden, detail: "the admin API is not for web pages"}
	}
	if s.own && !localName(r.Host) {
		return &problem{status: http.StatusMisdirectedRequest, detail: "ask for 127.0.0.1 or localhost"}
	}
	token := s.credentials.Load().token
	switch {
	case c == everyone:
		return nil
	case c != operators && c != trusted:
		return &problem{status: http.StatusForbidden, detail: "nobody may use this"}
	case token != nil:
		return s.authenticate(r, token)
	case c == trusted:
		return &problem{status: http.StatusForbidden, detail: "this is served only where the configuration sets admin.token"}
	case !s.own:
		return &problem{status: http.StatusForbidden, detail: "others can reach this address: only /healthz and /readyz are served on it, unless the configuration sets admin.token"}
	}
	return nil
}

// authenticate looks for the token in r.
func (s *Server) authenticate(r *http.Request, token *[sha256.Size]byte) *problem {
	shown := r.Header["Authorization"]
	if len(shown) == 0 {
		return &problem{status: http.StatusUnauthorized, detail: "show the token that the configuration sets as admin.token: Authorization: Bearer <token>", challenge: "Bearer"}
	}
	from := peer(r.RemoteAddr)
	if wait := s.failures.wait(from, time.Now()); wait > 0 {
		return &problem{status: http.StatusTooManyRequests, detail: "too many wrong tokens came from this address: wait", retry: wait}
	}
	if len(shown) == 1 {
		scheme, value, _ := strings.Cut(shown[0], " ")
		sum := sha256.Sum256([]byte(value))
		if strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(sum[:], token[:]) == 1 {
			return nil
		}
	}
	s.failures.note(from, time.Now())
	return &problem{status: http.StatusUnauthorized, detail: "this is not the token that the configuration sets as admin.token", challenge: `Bearer error="invalid_token"`}
}

// peer is whose failures are counted together: an address, or the network of one of IPv6.
func peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// failures bound how often a wrong token may be shown. Each peer may be wrong a few times
// at once, and then once in a while; beyond maxPeers, all others count as one.
type failures struct {
	count atomic.Int64 // of all, ever
	mu    sync.Mutex
	peers map[netip.Addr]*tries
}

// tries of one peer: how many were wrong, less one for every pause since.
type tries struct {
	wrong int
	since time.Time
}

const (
	wrongAtOnce = 10
	wrongPause  = time.Second
	maxPeers    = 256
)

// wait is how long a peer has to wait before it may try again; 0 if it may.
func (f *failures) wait(a netip.Addr, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.peers[f.known(a)]
	if t == nil {
		return 0
	}
	t.forget(now)
	if t.wrong < wrongAtOnce {
		return 0
	}
	return max(wrongPause-now.Sub(t.since), time.Millisecond)
}

func (f *failures) note(a netip.Addr, now time.Time) {
	f.count.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers == nil {
		f.peers = map[netip.Addr]*tries{}
	}
	if len(f.peers) >= maxPeers { // most have long been forgiven
		for p, t := range f.peers {
			if t.forget(now); t.wrong == 0 {
				delete(f.peers, p)
			}
		}
	}
	a = f.known(a)
	t := f.peers[a]
	if t == nil {
		t = &tries{since: now}
		f.peers[a] = t
	}
	t.forget(now)
	t.wrong++
}

// known is a, or what stands for all that there is no room for.
func (f *failures) known(a netip.Addr) netip.Addr {
	if _, ok := f.peers[a]; !ok && len(f.peers) >= maxPeers {
		return netip.Addr{}
	}
	return a
}

func (t *tries) forget(now time.Time) {
	pauses := int(now.Sub(t.since) / wrongPause)
	if pauses <= 0 {
		return
	}
	t.wrong = max(t.wrong-pauses, 0)
	t.since = t.since.Add(time.Duration(pauses) * wrongPause)
}

func localName(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}
