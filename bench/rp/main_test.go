package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProxyPassesOnAndSaysForWhom(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, r.Host+" "+r.Header.Get("X-Forwarded-For")+" "+string(b))
	}))
	defer agent.Close()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	proxy := &http.Server{Handler: newProxy(agent.Listener.Addr().String())}
	go func() { served <- serve(ctx, proxy, []func() error{func() error { return proxy.Serve(ln) }}) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ln.Addr().String()+"/x", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "gateway.example"
	resp, err := agent.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	if got, want := string(b), "gateway.example 127.0.0.1 hello"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("an orderly end: %v", err)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, s := range []settings{{addr: "0.0.0.0:0"}, {addr: "127.0.0.1:0", tlsAddr: ":0"}, {addr: "127.0.0.1:0", tlsAddr: "127.0.0.1:0", cert: "/nonexistent"}} {
		if err := run(t.Context(), s); err == nil {
			t.Errorf("%+v: it ran", s)
		}
	}
}
