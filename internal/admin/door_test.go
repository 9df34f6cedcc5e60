package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/airside-gateway/airside/internal/config"
)

// TestCrowdAtTheDoor proves that who holds as many connections as there may be, without
// asking anything, or half of it, keeps nobody out; and that who is being answered stays.
func TestCrowdAtTheDoor(t *testing.T) {
	g := start(t, plain, config.Admin{})
	address := g.admin.Addr().String()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	following := dial()
	fmt.Fprint(following, "GET /api/v1/exchanges?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
	events := bufio.NewReader(following)
	if resp, err := http.ReadResponse(events, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	for range maxConnections - 1 {
		c := dial()
		fmt.Fprint(c, "GET /healthz HT")
	}
	for range 3 {
		c := dial()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", resp, err)
		}
	}
	resp, err := http.Get(g.base + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for line := ""; line != "event: exchange\n"; {
		if line, err = events.ReadString('\n'); err != nil {
			t.Fatalf("who follows was cut off: %v", err)
		}
	}
}
