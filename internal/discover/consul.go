package discover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside/internal/canon"
)

// Catalog says which instances of a service Consul is asked for.
type Catalog struct {
	URL        *url.URL // of the agent or the server: scheme, host and perhaps a path
	Service    string
	Tag        string // only instances that have it; empty: all
	Datacenter string // empty: that of the agent
	Token      string
	Stale      bool          // any server may answer, not only the leader
	Wait       time.Duration // how long Consul holds a question that has no news
	TLS        *tls.Config
}

// Consul returns the source of the instances of a service that pass their checks, as
// Consul's HTTP API tells them: /v1/health/service with blocking queries.
func Consul(c Catalog) Source {
	if c.Wait <= 0 {
		c.Wait = time.Minute
	}
	return &consul{c}
}

type consul struct{ Catalog }

// Bounds of what Consul may answer, and of how often it is asked.
const (
	maxConsulAnswer = 16 << 20
	maxInstances    = 10_000
	consulEvery     = 100 * time.Millisecond
)

// Run implements [Source].
func (c *consul) Run(ctx context.Context, s Sink) error {
	client, closeIdle := newClient(c.TLS, c.Wait+c.Wait/8+10*time.Second) // Consul adds up to a sixteenth to the wait
	defer closeIdle()
	index := uint64(0)
	for {
		begin := time.Now()
		set, next, err := c.ask(ctx, client, index)
		if err != nil {
			return ended(ctx, err)
		}
		s.Set(set)
		if next < index { // Consul was restored, or has restarted: what we know means nothing
			next = 0
		}
		index = next
		pause := consulEvery - time.Since(begin)
		if pause > 0 && !wait(ctx, pause+time.Duration(rand.Int64N(int64(consulEvery)/4))) { //nolint:gosec // no secret
			return nil
		}
	}
}

// ask asks for what is new after index; 0 asks for what there is now.
func (c *consul) ask(ctx context.Context, client *http.Client, index uint64) ([]Endpoint, uint64, error) {
	q := url.Values{"passing": {"1"}}
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
		q.Set("wait", strconv.FormatInt(c.Wait.Milliseconds(), 10)+"ms")
	}
	if c.Tag != "" {
		q.Set("tag", c.Tag)
	}
	if c.Datacenter != "" {
		q.Set("dc", c.Datacenter)
	}
	if c.Stale {
		q.Set("stale", "")
	}
	u := c.URL.JoinPath("v1/health/service", url.PathEscape(c.Service))
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	if c.Token != "" {
		r.Header.Set("X-Consul-Token", c.Token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, 0, fmt.Errorf("asking Consul: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("asking Consul: it answered %d", resp.StatusCode)
	}
	next, err := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil || next == 0 { // an index of 0 would make every question return at once
		next = 1
	}
	set, err := consulEndpoints(resp.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("the answer of Consul cannot be read: %w", err)
	}
	return set, next, nil
}

// An instance is what Consul says of one instance of a service.
type instance struct {
	Node struct {
		Address  string
		Meta     metadata
		Locality locality
	}
	Service struct {
		Address  string
		Port     int
		Weights  struct{ Passing int }
		Meta     metadata
		Locality locality
	}
}

func (instance) most() int { return maxInstances }

type locality struct{ Zone string }

type metadata struct {
	Zone string `json:"zone"`
}

func consulEndpoints(r io.Reader) ([]Endpoint, error) {
	var all few[instance]
	if err := decode(r, maxConsulAnswer, &all); err != nil {
		return nil, err
	}
	var failed error
	set := make([]Endpoint, 0, min(len(all), MaxEndpoints))
	for i := range all {
		e, err := all[i].endpoint()
		if err != nil { // one that has registered itself wrongly is no reason to do without the others
			failed = err
			continue
		}
		set = append(set, e)
	}
	if len(set) == 0 && failed != nil {
		return nil, failed
	}
	return set, nil
}

func (i *instance) endpoint() (Endpoint, error) {
	host := i.Service.Address
	if host == "" {
		host = i.Node.Address
	}
	if i.Service.Port < 1 || i.Service.Port > 65535 {
		return Endpoint{}, errNoPort
	}
	if !hostOrAddr(host) {
		return Endpoint{}, errors.New("an instance has no address")
	}
	e := Endpoint{Host: net.JoinHostPort(host, strconv.Itoa(i.Service.Port)), Weight: max(i.Service.Weights.Passing, 1)}
	for _, zone := range []string{i.Service.Locality.Zone, i.Node.Locality.Zone, i.Service.Meta.Zone, i.Node.Meta.Zone} {
		if zone != "" && zoneName(zone) {
			e.Zone = zone
			break
		}
	}
	return e, nil
}

// hostOrAddr reports whether s is a name of the kind that hosts have, or a usable address.
func hostOrAddr(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return usable(a)
	}
	name, err := canon.Host(s)
	return err == nil && !strings.ContainsAny(name, ":[")
}

// newClient returns a client for a control plane: no proxy, no redirects, and connections
// whose other end is asked every few seconds whether it is still there, since an answer
// may be a long time coming. Limit bounds a whole exchange; 0 does not.
func newClient(cfg *tls.Config, limit time.Duration) (client *http.Client, closeIdle func()) {
	d := net.Dialer{
		Timeout:         2 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 2},
	}
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: cfg, TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	return &http.Client{
		Transport: t, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t.CloseIdleConnections
}
