package discover

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Slices says which EndpointSlices Kubernetes is asked for.
type Slices struct {
	URL       *url.URL // of the API server; nil: that of the pod that the gateway runs in
	Namespace string   // empty: that of the pod, or "default"
	Service   string
	Port      string // name or number of a port of the slices; empty: the only one
	Family    string // FamilyAuto, ...; empty is FamilyAuto
	Token     string // of the service account; empty: that of the pod, read anew for every request
	TLS       *tls.Config
}

// Kubernetes returns the source of the endpoints of a service, as its EndpointSlices
// (discovery.k8s.io/v1) list them: a list, and then a watch from where it stood.
func Kubernetes(s Slices) Source {
	return &kubernetes{Slices: s, account: "/var/run/secrets/kubernetes.io/serviceaccount", env: os.Getenv}
}

type kubernetes struct {
	Slices
	account string // folder of token, ca.crt and namespace
	env     func(string) string
}

// Bounds of what Kubernetes may answer.
const (
	maxSlices    = 1000
	maxSliceList = 64 << 20 // of one page of a list
	maxEvent     = 4 << 20
	slicePage    = 100
	maxPages     = 1000 // of one list
	tellEvery    = 50 * time.Millisecond
	watchFor     = 5 * time.Minute
)

// errGone says that what is asked for is too old to be told (410): a new list is needed.
var errGone = errors.New("Kubernetes does not remember that far back")

// A session is one run with a client of its own, so that certificates are read anew.
type session struct {
	*kubernetes
	client *http.Client
	base   *url.URL // of the slices of the namespace

	mu    sync.Mutex
	known map[string]slice
	news  chan struct{} // holds a token if known is to be told
}

// Run implements [Source].
func (k *kubernetes) Run(ctx context.Context, s Sink) error {
	ss, closeIdle, err := k.open()
	if err != nil {
		return err
	}
	defer closeIdle()
	var teller sync.WaitGroup
	defer teller.Wait()
	defer close(ss.news)
	teller.Go(func() { ss.tellAll(ctx, s) })
	for {
		version, err := ss.list(ctx)
		if err == nil {
			err = ss.follow(ctx, version)
		}
		if errors.Is(err, errGone) && ctx.Err() == nil {
			if !wait(ctx, firstPause) {
				return nil
			}
			continue
		}
		return ended(ctx, err)
	}
}

// open reads what the pod knows of its surroundings, as far as the settings leave it open.
func (k *kubernetes) open() (*session, func(), error) {
	u, cfg := k.URL, k.TLS
	if u == nil {
		host, port := k.env("KUBERNETES_SERVICE_HOST"), k.env("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, nil, errors.New("the gateway does not run in Kubernetes: name the url of the API server")
		}
		u = &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)}
	}
	if cfg == nil && u.Scheme == "https" {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
		if ca, err := k.read("ca.crt"); err == nil {
			cfg.RootCAs = x509.NewCertPool()
			cfg.RootCAs.AppendCertsFromPEM(ca)
		} else if k.URL == nil {
			return nil, nil, fmt.Errorf("reading the authority of the API server: %w", err)
		}
	}
	namespace := k.Namespace
	if namespace == "" {
		b, _ := k.read("namespace") // outside a pod there is none
		namespace = cmp.Or(strings.TrimSpace(string(b)), "default")
	}
	client, closeIdle := newClient(cfg, 0)
	base := u.JoinPath("apis/discovery.k8s.io/v1/namespaces", url.PathEscape(namespace), "endpointslices")
	return &session{kubernetes: k, client: client, base: base, news: make(chan struct{}, 1)}, closeIdle, nil
}

// read reads a file of the service account.
func (k *kubernetes) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(k.account, name)) //nolint:gosec // one of three names
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, maxSmallFile))
}

// ask sends one request. The caller closes the body.
func (s *session) ask(ctx context.Context, q url.Values) (*http.Response, error) {
	u := *s.base
	q.Set("labelSelector", "kubernetes.io/service-name="+s.Service)
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	token := s.Token
	if token == "" && (s.URL == nil || s.URL.Scheme == "https") { // it is renewed every hour, and not for everybody's ears
		b, err := s.read("token")
		if err != nil && s.URL == nil {
			return nil, fmt.Errorf("reading the token of the service account: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking Kubernetes: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	_ = resp.Body.Close() // its status says enough
	if resp.StatusCode == http.StatusGone {
		return nil, errGone
	}
	return nil, fmt.Errorf("asking Kubernetes: it answered %d", resp.StatusCode)
}

type meta struct {
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

// list fetches all slices, page by page, and returns the version that a watch goes on
// from.
func (s *session) list(ctx context.Context) (version string, err error) {
	known := map[string]slice{}
	next := ""
	for range maxPages {
		q := url.Values{"limit": {strconv.Itoa(slicePage)}}
		if next != "" {
			q.Set("continue", next)
		}
		var page struct {
			Metadata meta       `json:"metadata"`
			Items    few[slice] `json:"items"`
		}
		if err := s.page(ctx, q, &page); err != nil {
			return "", err
		}
		for _, item := range page.Items {
			if err := s.keep(known, item); err != nil {
				return "", err
			}
		}
		if next = page.Metadata.Continue; next == "" {
			if page.Metadata.ResourceVersion == "" {
				return "", errors.New("the list of Kubernetes has no version")
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.known = known
			return page.Metadata.ResourceVersion, nil
		}
	}
	return "", fmt.Errorf("the list of Kubernetes does not end within %d pages", maxPages)
}

func (s *session) page(ctx context.Context, q url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := s.ask(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if err := decode(resp.Body, maxSliceList, into); err != nil {
		return fmt.Errorf("the list of Kubernetes cannot be read: %w", err)
	}
	return nil
}

// keep notes what is of the service.
func (s *session) keep(known map[string]slice, item slice) error {
	if item.Metadata.Labels.Service != s.Service {
		return nil // it was asked for those of the service only
	}
	item.shed()
	if known[item.Metadata.Name] = item; len(known) > maxSlices {
		return fmt.Errorf("the service has more than %d EndpointSlices", maxSlices)
	}
	return nil
}

// follow tells the set, and watches for changes from version on until something is wrong.
func (s *session) follow(ctx context.Context, version string) error {
	s.tell()
	for {
		begin := time.Now()
		var err error
		if version, err = s.watch(ctx, version); err != nil {
			return err
		}
		if pause := time.Second - time.Since(begin); pause > 0 && !wait(ctx, pause) { // it ended at once: do not hurry it
			return nil
		}
	}
}

// tell has the set told.
func (s *session) tell() {
	select {
	case s.news <- struct{}{}:
	default: // it will be told after this change, too
	}
}

// tellAll tells the set that the slices make together whenever there are news, but not
// more often than tellEvery: changes can come as fast as the network bears. It goes on
// until there are to be no more.
func (s *session) tellAll(ctx context.Context, sink Sink) {
	for range s.news {
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		set, err := endpoints(s.known, s.Port, s.Family)
		s.mu.Unlock()
		if err != nil {
			sink.Failed(err)
		} else {
			sink.Set(set)
		}
		if !wait(ctx, tellEvery) {
			return
		}
	}
}

type event struct {
	Type   string         `json:"type"`
	Object jsontext.Value `json:"object"`
}

// watch takes changes until the server ends the watch, as it does every few minutes, and
// returns the version to go on from.
func (s *session) watch(ctx context.Context, version string) (string, error) {
	// The server ends it; if it is not heard of again, we do.
	seconds := int(watchFor.Seconds()) + rand.IntN(60) //nolint:gosec // no secret
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds+30)*time.Second)
	defer cancel()
	resp, err := s.ask(ctx, url.Values{
		"watch": {"1"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(seconds)},
	})
	if err != nil {
		return version, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body := &bounded{r: resp.Body}
	d := jsontext.NewDecoder(body)
	for {
		body.left = maxEvent
		var e event
		if err := json.UnmarshalDecode(d, &e); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, fmt.Errorf("the watch of Kubernetes broke off: %w", err)
		}
		if version, err = s.take(e, version); err != nil {
			return version, err
		}
	}
}

// take takes one change.
func (s *session) take(e event, version string) (string, error) {
	if e.Type == "ERROR" {
		var status struct {
			Code   int    `json:"code"`
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal(e.Object, &status); err == nil && (status.Code == http.StatusGone || status.Reason == "Expired") {
			return version, errGone
		}
		return version, fmt.Errorf("the watch of Kubernetes ended: %d %.60s", status.Code, status.Reason)
	}
	var item slice
	if err := json.Unmarshal(e.Object, &item); err != nil {
		return version, fmt.Errorf("an event of Kubernetes cannot be read: %w", err)
	}
	if v := item.Metadata.ResourceVersion; v != "" {
		version = v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Type {
	case "BOOKMARK":
		return version, nil // only the version has moved on
	case "ADDED", "MODIFIED":
		if err := s.keep(s.known, item); err != nil {
			return version, err
		}
	case "DELETED":
		delete(s.known, item.Metadata.Name)
	default:
		return version, fmt.Errorf("the watch of Kubernetes sent an event of the unknown type %.20q", e.Type)
	}
	s.tell()
	return version, nil
}

// A bounded reader yields left bytes at most.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("an event is too long")
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
