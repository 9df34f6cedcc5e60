package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A dialer makes the connections to one endpoint, each step within its time.
type dialer struct {
	link Link
	net  net.Dialer
}

func newDialer(l Link) *dialer {
	return &dialer{link: l, net: net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 3},
	}}
}

// plain makes a connection without TLS. Its errors are failures.
func (d *dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := within(ctx, d.link.Connect)
	defer cancel()
	c, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &failure{kind: dialKind(ctx, err), after: d.link.Connect, err: err}
	}
	return c, nil
}

// secure makes a connection with TLS by cfg. Its errors are failures.
func (d *dialer) secure(ctx context.Context, network, addr string, cfg *tls.Config) (*tls.Conn, error) {
	c, err := d.plain(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx, d.link.Handshake)
	defer cancel()
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close() // the handshake has said what there is to say
		return nil, &failure{kind: handshakeKind(ctx, err, cfg), after: d.link.Handshake, err: err}
	}
	return tc, nil
}

// within bounds ctx by d, if d is a bound.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// passed reports whether err came about because the deadline of ctx passed. The
// sockets keep the same time, and may be a little earlier than ctx to say so.
func passed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	deadline, ok := ctx.Deadline()
	ne, timeout := errors.AsType[net.Error](err)
	return ok && timeout && ne.Timeout() && time.Until(deadline) < 50*time.Millisecond
}

func dialKind(ctx context.Context, err error) kind {
	_, dns := errors.AsType[*net.DNSError](err)
	switch {
	case passed(ctx, err):
		return connectTimeout
	case dns:
		return noName
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENOBUFS):
		return exhausted
	}
	return unreachable
}

func handshakeKind(ctx context.Context, err error, cfg *tls.Config) kind {
	_, invalid := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case passed(ctx, err):
		return handshakeTimeout
	case invalid:
		return certificate
	case slices.Equal(cfg.NextProtos, []string{"h2"}) && strings.Contains(err.Error(), "no application protocol"):
		return noHTTP2 // the alert of RFC 7301 section 3.2, which has no type
	}
	return handshake
}
