package e2e

import (
	"regexp"
	"syscall"
	"testing"
)

// awaitLine waits until the log has a line that matches.
func (p *process) awaitLine(line *regexp.Regexp) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !line.Match(p.log.Bytes()) {
		if p.seen["ended"] > 0 {
			p.t.Fatalf("the process ended before a line like %s was logged:\n%s", line, p.log.String())
		}
		p.signal.Wait()
	}
}

// A reload changes the format of the log at once, and a file that is refused does not.
func TestLogReload(t *testing.T) {
	const routes = "listen: '127.0.0.1:0'\nroutes: [{ path: /*, use: [{ static: {} }] }]\n"
	p := run(t, routes+"telemetry: { log: { format: json, level: info } }\n")
	reload := func(yaml string) {
		p.write(yaml)
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	reload(routes + "telemetry: { log: { format: text } }\n")
	p.awaitLine(regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} INFO configuration loaded config=`))
	reload("routes: []\ntelemetry: { log: { format: json } }\n")
	p.awaitLine(regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} ERROR the configuration was refused`))
	reload(routes + "telemetry: { log: { format: json } }\n")
	p.waitFor("configuration loaded", 1)
}
