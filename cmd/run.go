package cmd

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/overload"
	"github.com/airside-gateway/airside/internal/telemetry"
	"github.com/airside-gateway/airside/internal/watch"
)

type runOptions struct {
	file    string
	watch   bool
	profile string
}

func (p *program) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run [FILE]",
		Short:   "Run the gateway",
		Long:    "Run the gateway until SIGTERM or Ctrl-C, which drain it: what is under way may end first,\nwithin shutdown.grace; a second signal cuts it.\nSIGHUP loads the configuration anew; a file that is not valid is refused, and the old one goes on.",
		Example: "  airside run -c airside.yaml --watch",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := fileArg(args, o.file)
			if err != nil {
				return err
			}
			o.file = file
			return profiled(o.profile, func() error { return p.run(cmd.Context(), o) })
		},
	}
	cmd.Flags().StringVarP(&o.file, "config", "c", "", "the configuration file (default "+defaultFile+")")
	cmd.Flags().BoolVar(&o.watch, "watch", false, "load the configuration anew whenever the file changes")
	cmd.Flags().StringVar(&o.profile, "cpu-profile", "", "write to `FILE` where processor time goes until the end, for go tool pprof")
	return cmd
}

// A runner is a gateway that runs, with what can be changed while it does.
type runner struct {
	program *program
	options runOptions
	output  *telemetry.Log
	log     *slog.Logger // to output
	app     *app.App
	seen    *admin.Recorder
	admin   *admin.Server
	address string // of admin, as configured
	watcher *watch.Watcher
	changed chan struct{}
	hup     chan os.Signal
}

func (p *program) run(ctx context.Context, o runOptions) error {
	r := &runner{hup: make(chan os.Signal, 1), program: p, options: o, changed: make(chan struct{}, 1)}
	signal.Notify(r.hup, syscall.SIGHUP) // to the end: a reload that is asked for too early or too late must not end the program
	c, err := app.Load(o.file)
	if err != nil {
		return err
	}
	overload.LimitMemory(os.DirFS("/"))
	tuneCollector()
	to := telemetry.Output{Writer: p.Err, Terminal: p.Terminal, Colour: p.Colour}
	if r.output, err = telemetry.Open(to, p.logFormat(c), logLevel(c)); err != nil {
		return err
	}
	defer func() { _ = r.output.Close() }() // where the log cannot be written, nothing can be said about it
	r.seen = admin.NewRecorder(nil)
	r.app = app.New(app.Settings{Log: r.output.Logger, Version: version(), Observers: []edge.Observer{r.seen}})
	r.seen.MaskBy(r.app.Masked)
	r.app.Metrics().Count("airside_log_lines_lost_total", "Lines of the log that were not written, since they came too fast or could not be.", r.output.Lost)
	r.log = r.app.Log()
	log.SetFlags(0)
	log.SetOutput(libraries{r.log})
	if err := r.apply(c); err != nil {
		return err
	}
	r.announce(ctx, c)
	r.loop(ctx)
	return r.stop()
}

// libraries takes what the standard library logs by itself, of broken connections
// mostly, into the log: nobody need act on it.
type libraries struct{ log *slog.Logger }

func (l libraries) Write(p []byte) (int, error) {
	l.log.LogAttrs(context.Background(), slog.LevelDebug, "a library says", slog.String("text", strings.TrimSpace(string(p))))
	return len(p), nil
}

// logFormat is the one that c asks for.
func (p *program) logFormat(c *config.Config) telemetry.LogFormat {
	format := telemetry.LogFormat(c.Telemetry.Log.Format)
	if format != "auto" {
		return format
	}
	if p.Terminal {
		return telemetry.Text
	}
	return telemetry.JSON
}

func logLevel(c *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Telemetry.Log.Level)); err != nil {
		return slog.LevelInfo // the configuration allows no other words
	}
	return l
}

// A change is what is not part of a generation, prepared for a configuration: the
// admin address and the files to be watched.
type change struct {
	admin   *admin.Server // nil if the address stays, or is off
	address string
	commit  func() // puts into force what is new at an admin address that stays; may be nil
	watcher *watch.Watcher
}

// prepare opens what c asks for, so that a configuration that cannot be served whole
// is refused whole.
func (r *runner) prepare(c *config.Config) (*change, error) {
	n := &change{address: c.Admin.Address}
	if c.Admin.Off {
		n.address = ""
	}
	var err error
	switch n.address {
	case "":
	case r.address:
		n.commit, err = r.admin.Prepare(&c.Admin)
	default:
		n.admin, err = admin.Listen(admin.Settings{App: r.app, Config: c.Admin, Version: version(), Log: r.log, Recorder: r.seen, Metrics: r.app.Metrics().Handler()})
	}
	if err != nil {
		return nil, err
	}
	if !r.options.watch {
		return n, nil
	}
	n.watcher, err = watch.Files(append([]string{absolute(r.options.file)}, c.Files()...), func() {
		select {
		case r.changed <- struct{}{}:
		default: // one is waiting already
		}
	})
	if err != nil {
		n.discard()
		return nil, err
	}
	return n, nil
}

// discard closes what was prepared.
func (n *change) discard() {
	if n.admin != nil {
		_ = n.admin.Close() // nothing has used it
	}
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
}

// apply puts c into force, with all that it asks for, or leaves everything as it is.
func (r *runner) apply(c *config.Config) error {
	n, err := r.prepare(c)
	if err != nil {
		return err
	}
	c.Telemetry.Metrics.Off = c.Telemetry.Metrics.Off || c.Admin.Off // nobody could ask for them
	if err := r.app.Apply(c); err != nil {
		n.discard()
		return err
	}
	if err := r.output.Set(r.program.logFormat(c), logLevel(c)); err != nil {
		r.log.LogAttrs(context.Background(), slog.LevelError, "the log stays as it is", slog.Any("err", err))
	}
	r.seen.Set(n.address != "", c.Admin.Recent)
	if n.commit != nil {
		n.commit()
	}
	if n.address != r.address {
		if r.admin != nil {
			_ = r.admin.Close() // whoever asked it something asks again
		}
		r.admin, r.address = n.admin, n.address
	}
	if r.watcher != nil {
		_ = r.watcher.Close() // it is replaced, whatever it says
	}
	r.watcher = n.watcher
	return nil
}

func absolute(file string) string {
	if a, err := filepath.Abs(file); err == nil {
		return a
	}
	return file
}

// announce says where the gateway listens, and warns of what is open to everybody.
func (r *runner) announce(ctx context.Context, c *config.Config) {
	var at []string
	for _, l := range r.app.Listening() {
		at = append(at, listeningText(l.Address, l.TLS, l.Protocols, l.Redirect))
	}
	attrs := []slog.Attr{slog.String("version", version()), slog.String("config", r.options.file), slog.String("hash", c.Hash()), slog.String("listening", strings.Join(at, " "))}
	if r.admin != nil {
		attrs = append(attrs, slog.String("admin", r.admin.Addr().String()))
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "airside is ready", attrs...)
	for _, w := range app.Warnings(c) {
		r.log.LogAttrs(ctx, slog.LevelWarn, "look at the configuration", slog.String("at", w.At.String()), slog.String("why", w.Message))
	}
}

// loop reloads when told to, until ctx ends.
func (r *runner) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hup:
		case <-r.changed:
		}
		r.reload(ctx)
	}
}

// reload takes the file anew, or keeps the old configuration and says why.
func (r *runner) reload(ctx context.Context) {
	c, err := app.Load(r.options.file)
	if err == nil {
		err = r.apply(c)
	}
	if err == nil {
		r.log.LogAttrs(ctx, slog.LevelInfo, "configuration loaded", slog.String("config", r.options.file), slog.String("hash", c.Hash()))
		for _, w := range app.Warnings(c) {
			r.log.LogAttrs(ctx, slog.LevelWarn, "look at the configuration", slog.String("at", w.At.String()), slog.String("why", w.Message))
		}
		return
	}
	r.app.Refused()
	var problems config.Problems
	if !errors.As(err, &problems) {
		r.log.LogAttrs(ctx, slog.LevelError, "the configuration was refused, the old one stays in force", slog.Any("err", err))
		return
	}
	for _, q := range problems {
		r.log.LogAttrs(ctx, slog.LevelError, "the configuration was refused, the old one stays in force",
			slog.String("at", q.At.String()), slog.String("err", q.Message))
	}
}

// stop drains. A second signal cuts what is still under way.
func (r *runner) stop() error {
	r.program.Stop()
	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	r.log.LogAttrs(ctx, slog.LevelInfo, "stopping: what is under way may end")
	err := r.app.Shutdown(ctx)
	if r.watcher != nil {
		_ = r.watcher.Close() // the program ends
	}
	if r.admin != nil {
		_ = r.admin.Close()
	}
	if err != nil { // the grace was what the operator gave: its end is no failure
		r.log.LogAttrs(ctx, slog.LevelWarn, "stopped", slog.Any("err", err))
		return nil
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return nil
}
