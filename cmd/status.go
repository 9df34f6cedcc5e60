package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/internal/admin"
)

var errNotReady = errors.New("the gateway is not ready: it has no configuration yet, or is about to stop")

func (p *program) statusCommand() *cobra.Command {
	var o operator
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say how a running gateway is",
		Long:    "Status asks the admin API of a running gateway, and prints one screen. The exit code is 0 if the\ngateway is ready, and 1 if it is not, or cannot be asked.",
		Example: "  airside status\n  airside status -c airside.yaml --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.open(); err != nil {
				return err
			}
			s, err := o.sample(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(p.Out, s)
			} else {
				_, err = fmt.Fprint(p.Out, statusText(s, styled{p.ColourOut}))
			}
			if err == nil && !s.Status.Ready {
				return errNotReady
			}
			return err
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return cmd
}

// styled marks text on terminals that show colour.
type styled struct{ on bool }

// Styles, as a terminal knows them.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s styled) mark(style, text string) string {
	if !s.on || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// stateStyle is how a state of an endpoint is marked, beside its word.
func stateStyle(state string) string {
	switch state {
	case "healthy":
		return green
	case "half_open", "warming", "leaving":
		return yellow
	}
	return red
}

func statusText(s *sample, mark styled) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	st := &s.Status
	line("airside", "%s, up %s", clean(st.Version), age(st.Now.Sub(st.Started)))
	if st.Ready {
		line("state", "%s", mark.mark(green, "ready"))
	} else {
		line("state", "%s", mark.mark(red, "not ready"))
	}
	if st.Config == nil {
		line("config", "none")
	} else {
		line("config", "%s, generation %d, since %s", clean(st.Config.Hash), st.Config.Nth, st.Config.At.UTC().Format(time.DateTime+"Z"))
	}
	for i, l := range st.Listening {
		label := ""
		if i == 0 {
			label = "listening"
		}
		line(label, "%s", listeningText(l.Address, l.TLS, l.Protocols, l.Redirect))
	}
	line("routes", "%d", st.Routes)
	if st.Recording {
		line("requests", "%s", totals(&s.Traffic, st.Now))
	} else {
		line("requests", "not counted")
	}
	for _, u := range s.Upstreams.Upstreams {
		b.WriteString("\n" + upstreamText(&u, s.Upstreams.Now, mark))
	}
	if len(s.Errors.Exchanges) > 0 {
		b.WriteString("\nlast errors\n")
	}
	const most = 5
	for _, e := range s.Errors.Exchanges[:min(most, len(s.Errors.Exchanges))] {
		fmt.Fprintf(&b, "  %s\n", errorText(&e))
	}
	return b.String()
}

func totals(t *admin.Traffic, now time.Time) string {
	var all admin.RouteTraffic
	for i := range t.Routes {
		all.Requests += t.Routes[i].Requests
		all.Failed += t.Routes[i].Failed
	}
	seconds := max(now.Sub(t.Since).Seconds(), 1)
	return fmt.Sprintf("%d in all, %.1f/s, %s failed (%s)", all.Requests, float64(all.Requests)/seconds, share(all.Failed, all.Requests), plural(int(min(all.Failed, 1<<53)), "exchange", "exchanges"))
}

func upstreamText(u *admin.Upstream, now time.Time, mark styled) string {
	var b strings.Builder
	head := "upstream   " + clean(u.Name) + " (" + clean(u.Kind)
	if u.Balance != "" {
		head += ", " + clean(u.Balance)
	}
	head += ")"
	if u.Panic {
		head += " " + mark.mark(red, "panic: so many endpoints are out that all are asked")
	}
	fmt.Fprintln(&b, head+beside(u))
	if d := u.Discovery; d != nil && d.Error != "" {
		fmt.Fprintf(&b, "  %s %s\n", mark.mark(red, "endpoints are looked for in vain:"), clean(d.Error))
	}
	if len(u.Endpoints) == 0 {
		fmt.Fprintln(&b, "  no endpoint is known")
	}
	for i := range u.Endpoints {
		e := &u.Endpoints[i]
		fmt.Fprintf(&b, "  %-32s %s %d active, %d requests, %s failed", clean(e.Address), mark.mark(stateStyle(e.State), fmt.Sprintf("%-9s", clean(e.State))), e.Active, e.Requests, share(e.Failures, e.Requests))
		if e.Latency > 0 {
			fmt.Fprintf(&b, ", %s", brief(e.Latency))
		}
		if e.Since != nil && e.State != "healthy" {
			fmt.Fprintf(&b, ", for %s", age(now.Sub(*e.Since)))
		}
		if e.Why != "" {
			fmt.Fprintf(&b, ": %s", clean(e.Why))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// beside says what became of exchanges beside being sent once; nothing if nothing did.
func beside(u *admin.Upstream) string {
	var b strings.Builder
	for _, n := range []struct {
		count uint64
		what  string
	}{
		{u.Retries, "retries"},
		{u.RetriesDenied, "retries denied"},
		{u.Hedges, "hedges"},
		{u.HedgesWon, "hedges won"},
		{u.Overflows, "refused for want of room"},
		{uint64(max(u.Queued, 0)), "waiting for room"},
	} {
		if n.count > 0 {
			fmt.Fprintf(&b, ", %s %d", n.what, n.count)
		}
	}
	return b.String()
}

func errorText(e *admin.Exchange) string {
	where := cmp.Or(e.Upstream, e.Route, "no route")
	return clean(fmt.Sprintf("%s %3d %s %s (%s) %s", e.At.UTC().Format(time.TimeOnly), e.Status, e.Method, e.Path, where, cmp.Or(e.Error, e.Code)))
}

// listeningText says where a listener is, and what it speaks beside the usual.
func listeningText(address string, secure bool, protocols []string, redirect bool) string {
	var also []string
	if secure {
		also = append(also, "tls")
	}
	if slices.Contains(protocols, "h3") {
		also = append(also, "h3")
	}
	if redirect {
		also = append(also, "to https")
	}
	if also == nil {
		return address
	}
	return address + " (" + strings.Join(also, ", ") + ")"
}

func share(part, whole uint64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.3g %%", 100*float64(part)/float64(whole))
}

// age is a duration as people say it.
func age(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// brief is a latency in three digits.
func brief(seconds float64) string {
	switch {
	case seconds <= 0:
		return "-"
	case seconds < 0.0009995:
		return fmt.Sprintf("%.0fus", seconds*1e6)
	case seconds < 0.9995:
		return fmt.Sprintf("%.3gms", seconds*1e3)
	}
	return fmt.Sprintf("%.3gs", seconds)
}
