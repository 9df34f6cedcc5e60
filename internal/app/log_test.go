package app_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/telemetry"
)

// lines gathers a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// exchanges runs a gateway with the setting log, asks it for each of the paths, and
// returns the lines of the exchanges, without what differs from run to run.
func exchanges(t *testing.T, log string, paths ...string) []string {
	t.Helper()
	out := &lines{}
	lg, err := telemetry.NewLog(out, telemetry.Logfmt, slog.LevelInfo, false)
	if err != nil {
		t.Fatal(err)
	}
	a := app.New(app.Settings{Log: lg, Poison: true})
	c, err := app.Parse("airside.yaml", []byte(fmt.Sprintf(`
listen: 127.0.0.1:0
admin: off
telemetry: { log: %s }
routes:
  - { path: /ok/*, strip: /ok, use: [{ static: { body: fine, headers: { X-Model: small } } }] }
  - { path: /bad/*, use: [{ static: { status: 500, body: no } }] }
`, log)), config.Lookup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(c); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, path := range paths {
		r, err := http.NewRequest(http.MethodGet, "http://"+a.Addrs()["127.0.0.1:0"].String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", "test/1 x")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if err := a.Shutdown(context.Background()); err != nil { // all have ended then
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.b.String()) {
		if _, rest, ok := strings.Cut(line, "msg=exchange "); ok {
			got = append(got, varying.ReplaceAllString(strings.TrimSuffix(rest, "\n"), "$1=?"))
		}
	}
	return got
}

var varying = regexp.MustCompile(`\b(id|host|took_ms|trace_id|span_id)=\S+`)

// TestLogChoice proves which exchanges are logged, and what of them.
func TestLogChoice(t *testing.T) {
	paths := []string{"/ok/a", "/bad/b", "/none"}
	for _, tt := range []struct {
		name, log string
		want      []string
	}{
		{"fields", `{ fields: { include: [path, status, caller], rename: { status: code } } }`, []string{"path=/ok/a code=200", "path=/bad/b code=500", "path=/none code=404"}},
		{"headers", `{ fields: { include: path, request: User-Agent, response: [x-model] } }`, []string{
			`path=/ok/a request.header.user-agent="test/1 x" response.header.x-model=small`,
			`path=/bad/b request.header.user-agent="test/1 x"`, `path=/none request.header.user-agent="test/1 x"`,
		}},
		{"add", `{ fields: { include: status }, add: { way: 'request.path', team: 'caller.claims.team' } }`, []string{"status=200 way=/ok/a", "status=500 way=/bad/b", "status=404 way=/none"}},
		{"filter", `{ fields: { include: path }, filter: 'response.status == 404 && took >= duration("0s")' }`, []string{"path=/bad/b", "path=/none"}},
		{"filter of errors too", `{ fields: { include: path }, filter: 'request.path.startsWith("/ok/")', errors: filtered }`, []string{"path=/ok/a"}},
		{"filter by code", `{ fields: { include: path }, filter: 'error.code == "not_found"', errors: filtered }`, []string{"path=/none"}},
		{"filter that fails", `{ fields: { include: path }, filter: 'caller.claims.team == "a"', errors: filtered }`, nil},
		{"sample", `{ fields: { include: path }, sample: 0.000000001 }`, []string{"path=/bad/b", "path=/none"}},
		{"exclude", `{ fields: { exclude: [client, in, out, http, err] } }`, []string{
			`id=? method=GET host=? path=/ok/a status=200 took_ms=? route=/ok/*`,
			`id=? method=GET host=? path=/bad/b status=500 took_ms=? route=/bad/*`, `id=? method=GET host=? path=/none status=404 took_ms=?`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, exchanges(t, tt.log, paths...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLogNames proves that the configuration knows the fields that the edge writes.
func TestLogNames(t *testing.T) {
	known := map[string]bool{}
	for _, name := range config.LogNames() {
		known[name] = true
	}
	for _, line := range exchanges(t, "{}", "/ok/a", "/bad/b", "/none") {
		for pair := range strings.FieldsSeq(line) {
			name, _, ok := strings.Cut(pair, "=")
			if name = strings.TrimSuffix(name, "_ms"); ok && !known[name] && !strings.HasPrefix(pair, `"`) {
				t.Errorf("%q is a field that the configuration does not know, in %s", name, line)
			}
		}
	}
}
