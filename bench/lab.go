package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/report"
)

// nice is the priority of everything that takes part; only root may.
const nice = -15

// A lab is where the measuring takes place: a folder, two processors, an agent,
// and proxies that come and go.
type lab struct {
	options  *options
	out      io.Writer // for progress
	root     string    // of the module
	dir      string    // of this run, removed at the end
	logs     string    // where proxies log to, removed too: in memory, if there is such a place
	cert     certificate
	proxyCPU int
	loadCPU  int
	files    int
	report   *report.Report
	entrants []*entrant
	agent    *proc.Process
	agentLog *os.File
	agentAt  string
	failures []error
}

// An entrant is a proxy that is there, and its process while it runs.
type entrant struct {
	proxy
	path    string
	ports   ports
	args    []string
	process *proc.Process
	log     *os.File
}

// newLab builds and prepares everything, and starts the agent.
func newLab(ctx context.Context, o *options, out io.Writer) (*lab, error) {
	l := &lab{options: o, out: out}
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) prepare(ctx context.Context) error {
	cpus, err := proc.CPUs()
	if err != nil {
		return err
	}
	l.loadCPU, l.proxyCPU = cpus[0], cpus[min(1, len(cpus)-1)]
	if len(cpus) < 2 {
		l.say("There is one processor only: load and proxy share it, and the rates mean little.")
	}
	if l.files, err = proc.RaiseFiles(); err != nil {
		return err
	}
	if l.files < 2600 {
		l.say("At most %d open files are allowed: fewer streams are opened than usual (ulimit -n).", l.files)
	}
	if l.root, err = moduleRoot(ctx); err != nil {
		return err
	}
	parent := filepath.Join(l.root, "bench", "run")
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return err
	}
	if l.dir, err = os.MkdirTemp(parent, "bench-"); err != nil {
		return err
	}
	if l.logs, err = os.MkdirTemp("/dev/shm", "airside-bench-"); err != nil { // a disk would be measured too
		l.logs = l.dir
		l.say("There is no /dev/shm to write to: access logs go to the disk, and cost more.")
	}
	if l.cert, err = newCertificate(l.dir); err != nil {
		return err
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	if err := proc.PinSelf(l.loadCPU); err != nil {
		return err
	}
	if err := l.startAgent(ctx); err != nil {
		return err
	}
	return l.try(ctx)
}

// try starts each proxy once. One that does not answer is left out of everything,
// said once and loudly.
func (l *lab) try(ctx context.Context) error {
	var good []*entrant
	for _, e := range l.entrants {
		_, err := l.start(ctx, e)
		l.stop(e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			l.report.Missing = append(l.report.Missing, e.name+" does not start")
			l.fail(fmt.Errorf("%w\n****** %s is left out", err, e.name))
			continue
		}
		good = append(good, e)
	}
	if len(good) == 0 {
		return errors.Join(append(l.failures, errors.New("there is nothing to measure"))...)
	}
	l.entrants = good
	l.report.Proxies = slices.DeleteFunc(l.report.Proxies, func(p report.Proxy) bool {
		return !slices.ContainsFunc(good, func(e *entrant) bool { return e.name == p.Name })
	})
	l.report.Reference = l.reference()
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	b, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(b))
	if file == "" || file == os.DevNull {
		return "", errors.New("run it inside the module: go run ./bench")
	}
	return filepath.Dir(file), nil
}

// build builds the parts as a release is built.
func (l *lab) build(ctx context.Context) error {
	packages := []string{"./bench/load", "./bench/mock", "./bench/rp"}
	ours := slices.ContainsFunc(proxies, func(p proxy) bool { return p.program == built+"airside" && chosen(l.options.proxies, p.name) })
	if ours && l.options.airside == "" {
		packages = append(packages, "./cmd/airside")
	}
	l.say("building %s", strings.Join(packages, " "))
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", l.dir + string(filepath.Separator)}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// enter finds the proxies and says loudly which are missing.
func (l *lab) enter(ctx context.Context) error {
	l.report = &report.Report{
		Date: today(), Machine: l.machine(), Rounds: l.options.rounds, Seconds: l.options.times().length.Seconds(),
		Promises: promises,
	}
	for _, p := range proxies {
		if !chosen(l.options.proxies, p.name) {
			continue
		}
		path, err := l.find(p)
		if err != nil {
			missing := fmt.Sprintf("%s is not installed (%s)", p.name, p.install)
			l.report.Missing = append(l.report.Missing, missing)
			l.say("****** %s. It is left out. ******", missing)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		l.entrants = append(l.entrants, &entrant{proxy: p, path: path})
		l.report.Proxies = append(l.report.Proxies, report.Proxy{
			Name: p.name, About: p.about, Version: p.askVersion(ctx, path), Bytes: info.Size(),
		})
	}
	return nil
}

// reference is what ratios are to: nginx, or what comes nearest to it.
func (l *lab) reference() string {
	for _, name := range []string{"nginx", "haproxy", "rp"} {
		for _, e := range l.entrants {
			if e.name == name {
				return name
			}
		}
	}
	return ""
}

// find returns the binary of p; symbolic links are followed.
func (l *lab) find(p proxy) (string, error) {
	path, here := strings.CutPrefix(p.program, built)
	switch {
	case here && path == "airside" && l.options.airside != "":
		path = l.options.airside
	case here:
		path = filepath.Join(l.dir, path)
	default:
		var err error
		if path, err = l.lookUp(p.program); err != nil {
			return "", err
		}
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// lookUp looks among the tools that make has built, in the PATH, and where servers
// are that users do not start.
func (l *lab) lookUp(program string) (string, error) {
	tools, err := filepath.Glob(filepath.Join(l.root, "bin", "tools", program+"-*", program))
	if err == nil && len(tools) > 0 {
		return tools[len(tools)-1], nil
	}
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, program))
	}
	return path, err
}

// askVersion returns the first line that tells the version; of a Go program that
// does not know its own, what the compiler wrote into it.
func (p proxy) askVersion(ctx context.Context, path string) string {
	if p.version == nil {
		return runtime.Version()
	}
	out, err := exec.CommandContext(ctx, path, p.version...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	first, _, _ = strings.Cut(first, " - ")  // addresses of haproxy's makers
	first, _, _ = strings.Cut(first, " h1:") // the sum of caddy's module
	first = strings.TrimSpace(strings.TrimPrefix(first, "nginx version: "))
	if b, err := buildinfo.ReadFile(path); err == nil && first == "unknown" {
		first = b.Main.Version + " " + b.GoVersion
	}
	return first
}

func (l *lab) machine() report.Machine {
	m := report.Machine{Processor: "a processor", Processors: runtime.NumCPU(), Kernel: "?", Go: runtime.Version(), ProxyCPU: l.proxyCPU, LoadCPU: l.loadCPU}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			m.Processor = strings.Trim(line, " \t:")
		}
	}
	return m
}

// startAgent starts the agent that all proxies lead to.
func (l *lab) startAgent(ctx context.Context) error {
	at, err := freePorts(ctx, 1)
	if err != nil {
		return err
	}
	l.agentAt = at[0]
	if l.agentLog, err = os.Create(filepath.Join(l.dir, "mock.log")); err != nil {
		return err
	}
	l.agent, err = proc.Start(ctx, proc.Command{
		Path: filepath.Join(l.dir, "mock"), Args: []string{"-addr", l.agentAt}, Env: []string{"GOMAXPROCS=1"}, CPU: l.loadCPU, Nice: nice, Log: l.agentLog,
	})
	if err != nil {
		return err
	}
	proc.Favour(l.agent.PIDs())
	_, err = untilAnswered(ctx, l.agent, l.agentAt)
	return err
}

// freePorts returns n loopback addresses on which nobody listens.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var list []string
	var open []net.Listener
	defer func() {
		for _, ln := range open {
			_ = ln.Close()
		}
	}()
	for range n {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, ln)
		list = append(list, ln.Addr().String())
	}
	return list, nil
}

// start starts e and returns how long it took to its first answer.
func (l *lab) start(ctx context.Context, e *entrant) (time.Duration, error) {
	at, err := freePorts(ctx, 2)
	if err != nil {
		return 0, err
	}
	e.ports = ports{plain: at[0], tls: at[1]}
	f := fill{
		Dir: l.dir, Plain: at[0], TLS: at[1], Agent: l.agentAt, AgentToo: otherName(l.agentAt),
		Cert: l.cert.cert, Key: l.cert.key, Both: l.cert.both, Files: l.files,
	}
	if e.args, err = e.command(f); err != nil {
		return 0, err
	}
	// A log is appended to, so that it can be emptied while it is written.
	log := filepath.Join(l.logs, e.name+".log")
	if e.log, err = os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600); err != nil { //nolint:gosec // in the folder of the run
		return 0, err
	}
	e.process, err = proc.Start(ctx, proc.Command{
		Path: e.path, Args: e.args, Env: e.environment(f), CPU: l.proxyCPU, Nice: nice, Log: e.log,
	})
	if err != nil {
		return 0, errors.Join(err, e.log.Close())
	}
	answered, err := untilAnswered(ctx, e.process, e.ports.plain)
	if err != nil {
		return 0, fmt.Errorf("%s does not answer: %w\n%s", e.name, err, tail(e.log))
	}
	proc.Favour(e.process.PIDs())
	return answered, nil
}

// stop ends e, if it runs.
func (l *lab) stop(e *entrant) {
	if e.process != nil {
		e.process.Stop()
		e.process = nil
		_ = e.log.Close()
	}
}

// tail is the end of what a process wrote.
func tail(log *os.File) string {
	f, err := os.Open(log.Name()) //nolint:gosec // in the folder of the run
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd) // from the beginning otherwise
	}
	b, err := io.ReadAll(io.LimitReader(f, 2000))
	if err != nil {
		return ""
	}
	return string(b)
}

// close ends everything and removes what it left.
func (l *lab) close() error {
	for _, e := range l.entrants {
		l.stop(e)
	}
	if l.agent != nil {
		l.agent.Stop()
	}
	if l.agentLog != nil {
		_ = l.agentLog.Close()
	}
	if l.dir == "" {
		return nil
	}
	err := errors.Join(os.RemoveAll(l.dir), os.RemoveAll(l.logs)) //nolint:gosec // the folders of the run
	_ = os.Remove(filepath.Dir(l.dir))                            //nolint:gosec // empty, unless another run is under way
	return err
}

// fail notes a failure, loudly; the others go on.
func (l *lab) fail(err error) {
	l.failures = append(l.failures, err)
	l.say("****** %v ******", err)
}

// failed is nil if everything that was started was measured.
func (l *lab) failed() error { return errors.Join(l.failures...) }

func (l *lab) say(format string, args ...any) { _, _ = fmt.Fprintf(l.out, format+"\n", args...) }

// otherName is another name of a loopback address.
func otherName(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort("localhost", port)
}
