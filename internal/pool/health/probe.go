package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxBody   = 64 << 10 // bytes that are read of the answer to a check
	maxHead   = 64 << 10
	maxWhy    = 200 // bytes of a reason that comes from elsewhere
	userAgent = "airside-health"
)

// A probe asks one endpoint whether it is well.
type probe struct {
	address   *url.URL
	check     *Check
	host      string
	ask       func(context.Context) error
	transport *http.Transport // nil without HTTP
	tls       *tls.Config
	dialer    net.Dialer
}

func newProbe(s *Settings, address string) (*probe, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("its address is not a URL")
	}
	p := &probe{address: u, check: s.Check, host: s.Host, tls: tlsFor(s.TLS, u)}
	if s.Check.Host != "" {
		p.host = s.Check.Host
	}
	p.dialer.KeepAlive = -1 // the connection is gone before
	p.dialer.Timeout = s.Check.Timeout
	if s.Check.Protocol == byTCP {
		p.ask = p.byTCP
		return p, nil
	}
	p.ask = p.byHTTP
	if s.Check.Protocol == byGRPC {
		p.ask = p.byGRPC
	}
	p.transport = &http.Transport{
		Protocols: protocols(s, u), TLSClientConfig: p.tls, DialContext: p.dialer.DialContext,
		TLSHandshakeTimeout: s.Check.Timeout, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHead,
	}
	return p, nil
}

// protocols are the versions of HTTP that a check may speak: those of exchanges; HTTP/2
// for gRPC.
func protocols(s *Settings, u *url.URL) *http.Protocols {
	p := &http.Protocols{}
	secure, grpc := u.Scheme == "https", s.Check.Protocol == byGRPC
	p.SetHTTP2(secure && (grpc || s.Protocol != "h1"))
	p.SetUnencryptedHTTP2(!secure && (grpc || s.Protocol == "h2c"))
	p.SetHTTP1(!grpc && s.Protocol != "h2" && s.Protocol != "h2c")
	return p
}

func tlsFor(cfg *tls.Config, u *url.URL) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	return cfg
}

// within asks, and takes no longer than limit. The error says why the endpoint is not
// well, for operators.
func (p *probe) within(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.ask(ctx)
}

func (p *probe) close() {
	if p.transport != nil {
		p.transport.CloseIdleConnections()
	}
}

// byTCP makes a connection, and closes it.
func (p *probe) byTCP(ctx context.Context) error {
	port := p.address.Port()
	secure := p.address.Scheme == "https"
	if port == "" {
		if port = "80"; secure {
			port = "443"
		}
	}
	c, err := p.dialer.DialContext(ctx, "tcp", net.JoinHostPort(p.address.Hostname(), port))
	if err != nil {
		return p.because("connect", err)
	}
	if secure {
		tc := tls.Client(c, p.tls)
		err = tc.HandshakeContext(ctx)
		c = tc
	}
	_ = c.Close() // it has served
	if err != nil {
		return p.because("TLS handshake", err)
	}
	return nil
}

// byHTTP asks for the path.
func (p *probe) byHTTP(ctx context.Context) error {
	what := "GET " + p.check.Path
	resp, err := p.send(ctx, http.MethodGet, p.check.Path, nil)
	if err != nil {
		return p.because(what, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !slices.ContainsFunc(p.check.Status, func(s Statuses) bool { return resp.StatusCode >= s.From && resp.StatusCode <= s.To }) {
		return fmt.Errorf("%s answered %d", what, resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return p.because(what, err)
	}
	return nil
}

// send sends a request over a connection of its own.
func (p *probe) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.address.Scheme+"://"+p.address.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Host = p.host
	r.Header.Set("User-Agent", userAgent)
	if p.check.Protocol == byGRPC {
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
	}
	return p.transport.RoundTrip(r)
}

// because says what went wrong with what was done.
func (p *probe) because(what string, err error) error {
	return fmt.Errorf("%s: %s", what, p.reason(err))
}

func (p *probe) reason(err error) string {
	_, unknown := errors.AsType[*net.DNSError](err)
	_, invalid := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), ok && timeout.Timeout():
		return "no answer within " + p.check.Timeout.String()
	case unknown:
		return "the name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case invalid, authority:
		return "the certificate is not valid"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended before the answer did"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return strings.ToValidUTF8(fmt.Sprintf("%.*s", maxWhy, err.Error()), "?")
}
