package cmd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/internal/app"
)

func (p *program) explainCommand() *cobra.Command {
	var file string
	var headers []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "explain METHOD URL",
		Short:   "Say which route, policies and upstream a request would meet, and why",
		Long:    "Explain reads the configuration and says what would become of a request. Nothing is sent.",
		Example: "  airside explain GET https://clinic.example/agent1/x -H 'X-Team: red'",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := app.Load(file)
			if err != nil {
				return err
			}
			r, err := requestOf(args[0], args[1], headers)
			if err != nil {
				return usageError{err}
			}
			e, err := app.Explain(slog.New(slog.DiscardHandler), c, r)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.Out, e)
			}
			_, err = fmt.Fprint(p.Out, explained(e))
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultFile, "the configuration file")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header of the request, as with curl")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// requestOf makes the request that a server would receive. The path is kept as it
// was written, so that what is ambiguous is refused here as it would be there.
func requestOf(method, address string, headers []string) (*http.Request, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("%q is not a URL that begins with http:// or https://", address)
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	if target[0] == '?' {
		target = "/" + target
	}
	r := &http.Request{
		Method: method, Host: host, RequestURI: target, URL: &url.URL{Path: target}, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1",
	}
	if scheme == "https" {
		r.TLS = &tls.ConnectionState{}
	}
	for _, h := range headers {
		k, v, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(k) == "" {
			return nil, errors.New("a header is written 'Name: value'")
		}
		if k = strings.TrimSpace(k); strings.EqualFold(k, "host") {
			r.Host = strings.TrimSpace(v)
			continue
		}
		r.Header.Add(k, strings.TrimSpace(v))
	}
	return r, nil
}

func explained(e *app.Explanation) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	if e.Request != "" {
		line("request", "%s", e.Request)
	}
	for i, s := range e.Steps {
		label := ""
		if i == 0 {
			label = "considered"
		}
		line(label, "%s: %s", s.Route, s.Why)
	}
	if e.Refused != "" {
		line("refused", "%d: %s", e.Status, e.Refused)
		return b.String()
	}
	line("route", "%s (%s)", e.Route, e.At)
	line("policies", "%s", orNone(strings.Join(e.Policies, " → ")))
	up := orNone(strings.Join(e.Upstreams, ", "))
	if e.How != "" {
		up += " (" + e.How + ")"
	}
	line("upstream", "%s", up)
	return b.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
