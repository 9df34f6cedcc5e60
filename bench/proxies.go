package main

import (
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed conf/*.tmpl
var templates embed.FS

// A proxy is something to measure.
type proxy struct {
	name, about string
	program     string   // looked for in the PATH and among the tools, or built
	install     string   // how to get it, if it is not built
	config      string   // template in conf, without .tmpl
	engine      string   // of Airside: filled into its template
	args        []string // in which CONFIG, PLAIN, TLS, CERT, KEY and AGENT are filled in
	env         []string // in which DIR is filled in
	version     []string // arguments that print the version
}

// proxies lists them in the order of the tables.
var proxies = []proxy{
	{
		name: "nginx", about: "one worker", program: "nginx", install: "apt-get install nginx",
		config: "nginx.conf", args: []string{"-c", "CONFIG", "-e", "stderr"}, version: []string{"-v"},
	},
	{
		name: "haproxy", about: "one thread", program: "haproxy", install: "apt-get install haproxy",
		config: "haproxy.cfg", args: []string{"-db", "-f", "CONFIG"}, version: []string{"-v"},
	},
	{
		name: "caddy", about: "reverse_proxy and nothing else", program: "caddy", install: "make caddy, or apt-get install caddy",
		config: "caddy.Caddyfile", args: []string{"run", "--adapter", "caddyfile", "--config", "CONFIG"},
		env: []string{"HOME=DIR"}, version: []string{"version"},
	},
	{
		name: "airside", about: "engine: fast, nothing but the way through", program: built + "airside", engine: "fast",
		config: "airside.yaml", args: []string{"run", "-c", "CONFIG"}, version: []string{"version"},
	},
	{
		name: "airside-chain", about: "engine: fast; apikey, allow (CEL), ratelimit, headers (CEL), access log to a file in memory", program: built + "airside", engine: "fast",
		config: "airside-chain.yaml", args: []string{"run", "-c", "CONFIG"}, version: []string{"version"},
	},
	{
		name: "airside-mesh", about: "engine: fast; two endpoints balanced by least_request, active checks, ejection, circuit breaker, metrics, access log to a file in memory", program: built + "airside", engine: "fast",
		config: "airside-mesh.yaml", args: []string{"run", "-c", "CONFIG"}, version: []string{"version"},
	},
	{
		name: "airside-std", about: "engine: std, nothing but the way through", program: built + "airside", engine: "std",
		config: "airside.yaml", args: []string{"run", "-c", "CONFIG"}, version: []string{"version"},
	},
	{
		name: "rp", about: "net/http and httputil.ReverseProxy, and nothing else", program: built + "rp",
		args: []string{"-addr", "PLAIN", "-tls", "TLS", "-cert", "CERT", "-key", "KEY", "-up", "AGENT"},
	},
}

// built begins the program of a proxy that is built here.
const built = "./"

func proxyNames() []string {
	list := make([]string, 0, len(proxies))
	for _, p := range proxies {
		list = append(list, p.name)
	}
	return list
}

// ports are the addresses of one proxy.
type ports struct{ plain, tls string }

// A fill is what templates and arguments are filled in with.
type fill struct {
	Dir, Plain, TLS, Agent, AgentToo, Cert, Key, Both string
	Engine                                            string
	Files                                             int // open files allowed
}

// PlainPort is the port of Plain.
func (f fill) PlainPort() (string, error) { return port(f.Plain) }

// TLSPort is the port of TLS.
func (f fill) TLSPort() (string, error) { return port(f.TLS) }

func port(address string) (string, error) {
	_, p, err := net.SplitHostPort(address)
	return p, err
}

// Connections is how many nginx may have: more than files, for it begins to close
// kept connections when a sixteenth is left.
func (f fill) Connections() int { return f.Files + f.Files/8 }

// Streams is how many clients haproxy may have: each needs two files.
func (f fill) Streams() int { return (f.Files - 100) / 2 }

// command writes the configuration of p and returns its arguments.
func (p proxy) command(f fill) ([]string, error) {
	config := ""
	if p.config != "" {
		f.Engine = p.engine
		config = filepath.Join(f.Dir, p.name+filepath.Ext(p.config))
		if err := p.writeConfig(config, f); err != nil {
			return nil, fmt.Errorf("configuration of %s: %w", p.name, err)
		}
	}
	args := make([]string, 0, len(p.args))
	for _, a := range p.args {
		switch a {
		case "CONFIG":
			a = config
		case "PLAIN":
			a = f.Plain
		case "TLS":
			a = f.TLS
		case "CERT":
			a = f.Cert
		case "KEY":
			a = f.Key
		case "AGENT":
			a = f.Agent
		}
		args = append(args, a)
	}
	return args, nil
}

// environment is what p wants in its environment.
func (p proxy) environment(f fill) []string {
	env := []string{"GOMAXPROCS=1"}
	for _, v := range p.env {
		env = append(env, strings.ReplaceAll(v, "DIR", f.Dir))
	}
	return env
}

func (p proxy) writeConfig(file string, f fill) error {
	t, err := template.ParseFS(templates, "conf/"+p.config+".tmpl")
	if err != nil {
		return err
	}
	w, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := t.Execute(w, f); err != nil {
		_ = w.Close()
		return err
	}
	return w.Close()
}
