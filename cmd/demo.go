package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/examples/clinic"
	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/telemetry"
)

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Run a sample clinic: three agents, and the gateway in front of them",
		Long: `Run a sample clinic on this machine: an agent for records, one for symptoms, one
for treatment, and the gateway in front of them with keys, limits and
transformations. It prints commands to try, and each exchange as it passes.
Ctrl-C ends it. The files are in examples/clinic.`,
		Example: "  airside demo",
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context()) },
	}
}

// demoPorts are the addresses in the sample's configuration, the gateway's first.
// The administration has the usual one, which the sample need not name.
var demoPorts = [...]string{"127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"}

func (p *program) demo(ctx context.Context) error {
	log, err := telemetry.NewLog(p.Err, telemetry.Text, slog.LevelInfo, p.Colour)
	if err != nil {
		return err
	}
	agentsCtx, stopAgents := context.WithCancel(context.WithoutCancel(ctx))
	var agents sync.WaitGroup
	defer agents.Wait()
	defer stopAgents()
	text := clinic.Config
	for i, a := range clinic.Agents() {
		ln, err := listenNear(demoPorts[2+i])
		if err != nil {
			return fmt.Errorf("starting the agent %s: %w", a.Name, err)
		}
		text = bytes.ReplaceAll(text, []byte(demoPorts[2+i]), []byte(ln.Addr().String()))
		agents.Go(func() {
			if err := a.Serve(agentsCtx, ln); err != nil {
				log.LogAttrs(ctx, slog.LevelError, "an agent failed", slog.String("agent", a.Name), slog.Any("err", err))
			}
		})
	}
	g, err := p.demoGateway(text, log)
	if err != nil {
		return err
	}
	p.invite(g)
	<-ctx.Done()
	p.Stop()
	err = errors.Join(g.app.Shutdown(context.WithoutCancel(ctx)), g.admin.Close())
	fmt.Fprintln(p.Out, "\nThe clinic is closed.")
	return err
}

// listenNear opens address, or any free port of its host if that is taken.
func listenNear(address string) (net.Listener, error) {
	if ln, err := net.Listen("tcp", address); err == nil { //nolint:noctx // binding an address does not wait
		return ln, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // binding an address does not wait
}

// freeNear is address, or one of its host that is free if that is taken.
func freeNear(address string) (string, error) {
	ln, err := listenNear(address)
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// A clinicGateway is the gateway of the demo, with what shows its state.
type clinicGateway struct {
	app           *app.App
	admin         *admin.Server
	plain, secure string // its addresses
}

// demoGateway starts the gateway and its administration at their usual ports, or at
// others if these are taken.
func (p *program) demoGateway(text []byte, log *slog.Logger) (*clinicGateway, error) {
	var addrs [2]string
	for i, want := range demoPorts[:2] {
		var err error
		if addrs[i], err = freeNear(want); err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte(want), []byte(addrs[i]))
	}
	c, err := app.Parse("airside.yaml", text, config.Lookup{Env: func(string) (string, bool) { return "", false }}) // the keys that are printed are the sample's
	if err != nil {
		return nil, fmt.Errorf("the sample configuration: %w", err)
	}
	if c.Admin.Address, err = freeNear(c.Admin.Address); err != nil {
		return nil, err
	}
	seen := admin.NewRecorder(nil)
	seen.Set(true, c.Admin.Recent)
	a := app.New(app.Settings{Log: log, Version: version(), Observers: []edge.Observer{seen}})
	seen.MaskBy(a.Masked)
	if err := a.Apply(c); err != nil {
		return nil, errors.Join(err, a.Shutdown(context.Background()))
	}
	s, err := admin.Listen(admin.Settings{App: a, Config: c.Admin, Version: version(), Log: log, Recorder: seen, Metrics: a.Metrics().Handler()})
	if err != nil {
		return nil, errors.Join(err, a.Shutdown(context.Background()))
	}
	return &clinicGateway{app: a, admin: s, plain: addrs[0], secure: addrs[1]}, nil
}

// invite prints what to try.
func (p *program) invite(g *clinicGateway) {
	var b strings.Builder
	fmt.Fprintf(&b, "A clinic of three agents is open at http://%s and https://%s.\nTry, in another terminal:\n", g.plain, g.secure)
	for _, c := range clinic.Curls("http://"+g.plain, "https://"+g.secure) {
		fmt.Fprintf(&b, "\n# %s\n%s\n", c.Title, c.Command)
	}
	at, address := "", g.admin.Addr().String()
	if address != defaultAdmin {
		at = " --address " + address
	}
	fmt.Fprintf(&b, "\n# How the gateway is, and what passes; Prometheus finds the same at http://%[3]s/metrics\n%[1]s status%[2]s\n%[1]s top%[2]s\n", os.Args[0], at, address)
	b.WriteString("\nThe configuration is examples/clinic/airside.yaml. Each exchange shows below; Ctrl-C ends the demo.\n\n")
	fmt.Fprint(p.Out, b.String())
}
