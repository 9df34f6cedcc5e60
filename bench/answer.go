package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/wire"
)

const (
	startTimeout = 20 * time.Second
	tryTimeout   = time.Second
	tryEvery     = 200 * time.Microsecond // how finely a start is timed
)

// firstRequest is what is asked until it is answered with 200.
const firstRequest = "GET /v1/chat/completions HTTP/1.1\r\nHost: gateway.example\r\n" +
	"Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef\r\nConnection: close\r\n\r\n"

// untilAnswered asks at address until the answer is 200, and returns how long
// that took from the start of the process.
func untilAnswered(ctx context.Context, p *proc.Process, address string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		err := askOnce(ctx, address)
		if err == nil {
			return time.Since(p.Started), nil
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			return 0, fmt.Errorf("it ended: %w", errors.Join(p.Wait(), err))
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), err)
		}
	}
}

func askOnce(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := c.Write([]byte(firstRequest)); err != nil {
		return err
	}
	h, err := wire.ReadHead(bufio.NewReader(c))
	if err == nil && h.Status != 200 {
		err = fmt.Errorf("the status is %d", h.Status)
	}
	return err
}

// wait waits for d and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
