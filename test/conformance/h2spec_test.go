package conformance

import (
	"encoding/xml"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/airsidetest"
)

// A deviation is a case of h2spec that we fail, and mean to.
type deviation struct {
	section, title string
	std, plain     bool // only there: with net/http, and in the clear
	why            string
}

var deviations = []deviation{
	{
		"http2/3.5", "Sends invalid connection preface", false, true,
		"The address serves HTTP/1.1 too, and what is no preface is a bad request of that: it is answered by 400 before the connection is closed.",
	},
	{
		"http2/6.5.3", "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE", true, false,
		"net/http closes a connection on which one SETTINGS names a setting twice, as a defence (RFC 9113 section 10.5). No client does.",
	},
	{
		"http2/8.1.2.2", "Sends a HEADERS frame that contains the connection-specific header field", true, false,
		"A malformed request may be answered before its stream is reset (RFC 9113 section 8.1.1): it is, by 400, which tells its sender more. Our own engine resets it then; net/http does not.",
	},
	{
		"http2/8.1.2.2", "Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"", true, false,
		"As above: answered by 400.",
	},
}

// cases is how many h2spec 2.2.1 has, strict ones included.
const cases = 146

// TestH2spec runs h2spec against a gateway, with and without TLS, on both engines. What fails must be
// a documented deviation, and each deviation must fail: else it is none any more.
func TestH2spec(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-mod=readonly", "-o", tool, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = "h2spec" // a module of its own, with fixed versions
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building h2spec: %v\n%s", err, out)
	}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("h2spec ", 100)))
	}))
	t.Cleanup(agent.Close)
	g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", agent.URL)
	for _, tt := range []struct {
		mode  airsidetest.Mode
		flags []string
		here  func(deviation) bool
	}{
		{airsidetest.H2C, nil, func(d deviation) bool { return !d.std }},
		{airsidetest.H2, []string{"-t", "-k"}, func(d deviation) bool { return !d.std && !d.plain }},
		{airsidetest.H2CStd, nil, func(deviation) bool { return true }},
		{airsidetest.H2Std, []string{"-t", "-k"}, func(d deviation) bool { return !d.plain }},
	} {
		t.Run(string(tt.mode), func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, d := range deviations {
				if tt.here(d) {
					want = append(want, d.section+" "+d.title)
				}
			}
			slices.Sort(want)
			got, n := h2spec(t, tool, strings.TrimLeft(g.URL(tt.mode, ""), "htps:/"), tt.flags...)
			if n != cases {
				t.Errorf("%d cases ran, want %d", n, cases)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("what failed differs from the deviations (-want +got):\n%s", d)
			}
		})
	}
}

// h2spec runs the tool and returns the cases that failed, and how many there were.
func h2spec(t *testing.T, tool, addr string, flags ...string) (failed []string, n int) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"-S", "-h", host, "-p", port, "-o", "5", "-j", report}, flags...)
	out, runErr := exec.Command(tool, args...).CombinedOutput() // fails if a case does
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v, %v\n%s", runErr, err, out)
	}
	var r struct {
		Suites []struct {
			Cases []struct {
				Package string  `xml:"package,attr"`
				Title   string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
				Skipped *string `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Suites {
		for _, c := range s.Cases {
			n++
			if c.Failure != nil || c.Error != nil || c.Skipped != nil {
				failed = append(failed, c.Package+" "+c.Title)
			}
		}
	}
	slices.Sort(failed)
	return failed, n
}
