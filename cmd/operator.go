package cmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

const (
	defaultAdmin = "127.0.0.1:9900"
	tokenEnv     = "AIRSIDE_ADMIN_TOKEN"
	maxAnswer    = 64 << 20
	patience     = 5 * time.Second // with one answer
)

// An operator asks the admin API of a running gateway.
type operator struct {
	file, address, tokenFile, ca string // flags

	base   string
	token  string
	client *http.Client
}

func (o *operator) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.address, "address", "", "the admin address of the gateway: host:port, or a URL with https:// (default "+defaultAdmin+")")
	cmd.Flags().StringVarP(&o.file, "config", "c", "", "the configuration file of the gateway, for its admin address and token")
	cmd.Flags().StringVar(&o.tokenFile, "token-file", "", "a file with the admin token; without it, the variable "+tokenEnv)
	cmd.Flags().StringVar(&o.ca, "ca", "", "a file with the certificates, in PEM, that a gateway with https:// is to be known by")
}

// open finds out where to ask, and how.
func (o *operator) open() error {
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	o.client = &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	o.base = "http://" + defaultAdmin
	if o.file != "" {
		if err := o.configured(transport); err != nil {
			return err
		}
	}
	if o.address != "" {
		u, err := adminURL(o.address)
		if err != nil {
			return usageError{err}
		}
		o.base = u
	}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return usageError{fmt.Errorf("%s holds no certificate in PEM", o.ca)}
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return o.readToken()
}

func (o *operator) readToken() error {
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return fmt.Errorf("reading the token: %w", err)
		}
		o.token = strings.TrimSpace(string(text))
		return nil
	}
	if t := os.Getenv(tokenEnv); t != "" {
		o.token = t
	}
	return nil
}

// configured takes address, token and certificate from the configuration file.
func (o *operator) configured(transport *http.Transport) error {
	c, err := app.Load(o.file)
	if err != nil {
		return err
	}
	if c.Admin.Off {
		return fmt.Errorf("%s switches the administration off: there is nothing to ask", o.file)
	}
	scheme := "http://"
	if c.Admin.TLS != nil {
		scheme = "https://"
		if transport.TLSClientConfig, err = pinned(c.Admin.TLS); err != nil {
			return err
		}
	}
	if c.Admin.Token != nil {
		o.token = string(*c.Admin.Token)
	}
	o.base = scheme + near(c.Admin.Address)
	return nil
}

// pinned accepts the very certificate of the configuration, whatever names it has: the
// address that is asked is often the loopback interface.
func pinned(t *config.AdminTLS) (*tls.Config, error) {
	text, err := os.ReadFile(t.Cert)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM", t.Cert)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the certificate itself
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("the gateway shows another certificate than the one of the configuration")
			}
			return nil
		},
	}, nil
}

// near is where a gateway that listens at address can be reached from its own machine.
func near(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
		if a.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

func adminURL(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("--address is host:port, such as %s, or a URL such as https://gateway.example:9900", defaultAdmin)
	}
	return u.Scheme + "://" + near(u.Host), nil
}

// ask reads the answer to a path into v.
func (o *operator) ask(ctx context.Context, path string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.base+path, nil)
	if err != nil {
		return err
	}
	if o.token != "" {
		r.Header.Set("Authorization", "Bearer "+o.token)
	}
	resp, err := o.client.Do(r)
	if err != nil {
		return o.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", o.base, err)
	}
	if resp.StatusCode != http.StatusOK {
		return o.refused(resp.StatusCode, b)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s does not answer as an admin API does: %w", o.base, err)
	}
	return nil
}

func (o *operator) unreachable(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gateway answers at %s: is it running? If its admin address is another one, name it with --address, or its file with -c", o.base)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "malformed HTTP response"):
		return fmt.Errorf("what listens at %s is no admin API that speaks so: if it speaks TLS, write --address https://... (%w)", o.base, err)
	}
	return fmt.Errorf("%s cannot be asked: %w", o.base, err)
}

func (o *operator) refused(status int, body []byte) error {
	var p admin.Problem
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		return fmt.Errorf("%s answers %d: is this the admin address of a gateway?", o.base, status)
	}
	if status == http.StatusUnauthorized {
		return fmt.Errorf("%s wants its token: %s\nset %s, or name a file with --token-file, or the configuration with -c", o.base, clean(p.Detail), tokenEnv)
	}
	return fmt.Errorf("%s answers %d: %s", o.base, status, clean(p.Detail))
}

// A sample is how a gateway stands at a moment.
type sample struct {
	Status    admin.Status    `json:"status"`
	Upstreams admin.Upstreams `json:"upstreams"`
	Traffic   admin.Traffic   `json:"traffic"`
	Errors    admin.Exchanges `json:"errors"`
}

// sample asks for everything.
func (o *operator) sample(ctx context.Context) (*sample, error) {
	s := &sample{}
	for _, q := range []struct {
		path string
		into any
	}{
		{"/api/v1/status", &s.Status},
		{"/api/v1/upstreams", &s.Upstreams},
		{"/api/v1/traffic", &s.Traffic},
		{"/api/v1/exchanges?failed=true&limit=20", &s.Errors},
	} {
		if err := o.ask(ctx, q.path, q.into); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// clean makes of s what a terminal shows and does not obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
}
