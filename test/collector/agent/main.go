// Command agent is an agent that is traced by the OpenTelemetry SDK: for each request it
// records a span, whose parent is what the request names, and exports it by OTLP.
//
//	agent http://127.0.0.1:4318
//
// Its first line says where it listens.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(collector string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	to, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(collector+"/v1/traces"))
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(to),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "agent"))))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, l.Addr())
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, r.Header.Get("Traceparent")+"\n"+r.Header.Get("Tracestate")+"\n"+r.Header.Get("Baggage")+"\n") //nolint:gosec // plain text, for a test
	})
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: otelhttp.NewHandler(answer, "agent",
		otelhttp.WithTracerProvider(provider), otelhttp.WithPropagators(propagation.TraceContext{}))}
	go func() { _ = s.Serve(l) }()
	<-ctx.Done()
	return s.Close()
}
