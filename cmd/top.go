package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// Bounds of the interval of top.
const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = time.Hour
)

type topOptions struct {
	operator

	interval   time.Duration
	once, json bool
}

func (p *program) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a running gateway: rates, latencies, endpoints, errors",
		Long: `Top asks the admin API of a running gateway again and again, and shows what was between
two answers. It needs a terminal, but for --once and --json.

Keys: q quits, p pauses, s sorts the routes by rate, errors, latency or name; arrows, Page Up,
Page Down, Home and End scroll.`,
		Example: "  airside top\n  airside top -c airside.yaml --interval 5s\n  airside top --json | jq .requests_per_second",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.interval < leastInterval || o.interval > mostInterval {
				return usageError{fmt.Errorf("--interval is from %s to %s", leastInterval, mostInterval)}
			}
			if err := o.open(); err != nil {
				return err
			}
			switch {
			case o.json:
				return p.topLines(cmd.Context(), &o)
			case o.once:
				return p.topOnce(cmd.Context(), &o)
			}
			return p.topScreen(cmd.Context(), &o)
		},
	}
	o.flags(cmd)
	cmd.Flags().DurationVar(&o.interval, "interval", time.Second, "how often to ask")
	cmd.Flags().BoolVar(&o.once, "once", false, "print one frame, of one interval, and end")
	cmd.Flags().BoolVar(&o.json, "json", false, "print a JSON object for every interval; with --once, one")
	return cmd
}

// samples asks at once, and then at every interval, until next refuses or ctx ends,
// which is no error.
func (o *topOptions) samples(ctx context.Context, next func(*sample) (more bool, err error)) error {
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		s, err := o.sample(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is the end that was asked for
		}
		if err != nil {
			return err
		}
		if more, err := next(s); err != nil || !more {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *program) topLines(ctx context.Context, o *topOptions) error {
	var before *sample
	out := json.NewEncoder(p.Out)
	out.SetEscapeHTML(false)
	return o.samples(ctx, func(s *sample) (bool, error) {
		last := before
		if before = s; last == nil {
			return true, nil
		}
		return !o.once, out.Encode(between(last, s))
	})
}

func (p *program) topOnce(ctx context.Context, o *topOptions) error {
	v := &view{mark: styled{p.ColourOut}, ascii: !p.ColourOut}
	return o.samples(ctx, func(s *sample) (bool, error) {
		if v.take(s); v.rates == nil {
			return true, nil
		}
		_, err := fmt.Fprintln(p.Out, v.whole())
		return false, err
	})
}

// topScreen shows frames until a key or a signal ends it.
func (p *program) topScreen(ctx context.Context, o *topOptions) error {
	out, ok := p.Out.(*os.File)
	if !ok || !isTerminal(out) {
		return usageError{errors.New("top needs a terminal: use --once or --json")}
	}
	v := &view{mark: styled{p.ColourOut}, ascii: !p.ColourOut}
	if os.Getenv("TERM") == "dumb" { // nothing can be painted over: frames follow one another
		return o.samples(ctx, func(s *sample) (bool, error) {
			v.take(s)
			_, err := fmt.Fprintln(p.Out, v.whole())
			return true, err
		})
	}
	first, err := o.sample(ctx) // what cannot be asked is said on an ordinary screen
	if err != nil {
		return err
	}
	v.take(first)
	t, err := openTerminal(out)
	if err != nil {
		return err
	}
	defer t.restore()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		if t.wake() { // else whoever reads keys ends with the program
			wg.Wait()
		}
	}()
	keys, answers := make(chan key), make(chan answered)
	wg.Go(func() { defer t.guard(); t.keys(ctx, keys) })
	wg.Go(func() { defer t.guard(); o.poll(ctx, answers) })
	return watchScreen(ctx, t, v, keys, answers)
}

// answered is an answer of the gateway, or why there is none.
type answered struct {
	sample *sample
	err    error
}

// poll asks at every interval until ctx ends. What fails is told, and asked again.
func (o *topOptions) poll(ctx context.Context, out chan<- answered) {
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, err := o.sample(ctx)
		select {
		case <-ctx.Done():
			return
		case out <- answered{s, err}:
		}
	}
}

// A screen is where frames are painted.
type screen interface {
	size() (width, height int)
	resized() <-chan os.Signal
	paint(lines []string) error
}

// watchScreen paints a frame whenever something has changed, until a key or ctx ends it.
func watchScreen(ctx context.Context, t screen, v *view, keys <-chan key, answers <-chan answered) error {
	for {
		if err := t.paint(v.frame(t.size())); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.resized():
		case a := <-answers:
			if v.paused {
				continue
			}
			if v.err = a.err; a.err == nil {
				v.take(a.sample)
			}
		case k := <-keys:
			_, height := t.size()
			if v.press(k, height) {
				return nil
			}
		}
	}
}
