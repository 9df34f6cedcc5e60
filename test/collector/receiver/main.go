// Command receiver takes OTLP by the receiver of the OpenTelemetry Collector, over HTTP and
// gRPC, and writes what it has decoded to its output, a line of OTLP/JSON for each export.
//
// Its first line says where it listens: {"http": ADDRESS, "grpc": ADDRESS}.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	overHTTP, err := free(ctx)
	if err != nil {
		return err
	}
	overGRPC, err := free(ctx)
	if err != nil {
		return err
	}
	factory := otlpreceiver.NewFactory()
	c := factory.CreateDefaultConfig()
	err = confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{
		"http": map[string]any{"endpoint": overHTTP},
		"grpc": map[string]any{"endpoint": overGRPC},
	}}).Unmarshal(c)
	if err != nil {
		return err
	}
	out := &output{}
	next, err := consumer.NewTraces(out.traces)
	if err != nil {
		return err
	}
	r, err := factory.CreateTraces(ctx, receivertest.NewNopSettings(component.MustNewType("otlp")), c, next)
	if err != nil {
		return err
	}
	if err := r.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "{%q: %q, %q: %q}\n", "http", overHTTP, "grpc", overGRPC)
	<-ctx.Done()
	return r.Shutdown(context.WithoutCancel(ctx))
}

// free returns an address that nobody listens on.
func free(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

type output struct {
	mu   sync.Mutex
	json ptrace.JSONMarshaler
}

func (o *output) traces(_ context.Context, t ptrace.Traces) error {
	b, err := o.json.MarshalTraces(t)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !json.Valid(b) {
		return fmt.Errorf("not JSON: %s", b)
	}
	_, err = fmt.Fprintf(os.Stdout, "%s\n", b)
	return err
}
