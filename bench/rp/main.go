// Command rp is the bare reverse proxy of the benchmark: net/http and
// httputil.ReverseProxy with a Transport that keeps every connection, and
// nothing else. It is what the standard library alone costs.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/airside-gateway/airside/bench/internal/wire"
)

const bufferSize = 16 << 10 // as nginx and haproxy here

type settings struct {
	addr, tlsAddr, cert, key, upstream string
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "127.0.0.1:9110", "loopback address to listen on")
	flag.StringVar(&s.tlsAddr, "tls", "", "loopback address for TLS; empty: none")
	flag.StringVar(&s.cert, "cert", "", "certificate, PEM")
	flag.StringVar(&s.key, "key", "", "its private key, PEM")
	flag.StringVar(&s.upstream, "up", "127.0.0.1:9000", "address of the upstream")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rp:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, s settings) error {
	if err := wire.Loopback(s.addr); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	h := &http.Server{Handler: newProxy(s.upstream), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	serving := []func() error{func() error { return h.Serve(ln) }}
	if s.tlsAddr != "" {
		secure, err := s.listenTLS(ctx, h)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		serving = append(serving, func() error { return h.ServeTLS(secure, "", "") })
	}
	return serve(ctx, h, serving)
}

// listenTLS prepares h for TLS, with HTTP/1.1 and HTTP/2, and returns where it is
// to be served.
func (s settings) listenTLS(ctx context.Context, h *http.Server) (net.Listener, error) {
	if err := wire.Loopback(s.tlsAddr); err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, err
	}
	h.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	return new(net.ListenConfig).Listen(ctx, "tcp", s.tlsAddr)
}

// serve serves until ctx ends.
func serve(ctx context.Context, s *http.Server, serving []func() error) error {
	ended := make(chan error, len(serving))
	var all sync.WaitGroup
	for _, f := range serving {
		all.Go(func() { ended <- f() })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	err = errors.Join(err, s.Close()) // open streams are of no use any more
	all.Wait()
	return err
}

func newProxy(upstream string) http.Handler {
	target := &url.URL{Scheme: "http", Host: upstream}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   20000,
			IdleConnTimeout:       time.Hour,
			DisableCompression:    true,
			ExpectContinueTimeout: time.Second,
		},
		BufferPool: newBuffers(),
		ErrorLog:   log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
}

// buffers is a pool of copy buffers.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}}
}

func (b *buffers) Get() []byte {
	return *b.pool.Get().(*[]byte) //nolint:errcheck // nothing else is put in
}

func (b *buffers) Put(x []byte) { b.pool.Put(&x) }
