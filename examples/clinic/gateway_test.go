package clinic_test

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/examples/clinic"
)

// seen is what reached the agents.
type seen struct {
	mu      sync.Mutex
	callers []string
	leaked  []string // paths of requests that carried a key
}

func (s *seen) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.callers = append(s.callers, strings.Join(r.Header.Values("X-Caller"), ","))
		if len(r.Header["X-Api-Key"])+len(r.Header["Authorization"])+len(r.Header["Cookie"]) > 0 {
			s.leaked = append(s.leaked, r.URL.Path)
		}
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// open starts the agents and, with the configuration of this folder, the gateway.
func open(t *testing.T) (*airsidetest.Gateway, *seen) {
	t.Helper()
	t.Setenv("CLINIC_DOCTOR_KEY", "")
	t.Setenv("CLINIC_NURSE_KEY", "")
	for _, name := range []string{"CLINIC_DOCTOR_KEY", "CLINIC_NURSE_KEY"} {
		if err := os.Unsetenv(name); err != nil { // Setenv brings back what was there
			t.Fatal(err)
		}
	}
	s := new(seen)
	config := strings.NewReplacer("127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:8443", "localhost:0").Replace(string(clinic.Config))
	for i, a := range clinic.Agents() {
		a.Handler = s.watch(a.Handler)
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- a.Serve(ctx, ln) }()
		t.Cleanup(func() {
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		config = strings.ReplaceAll(config, "127.0.0.1:900"+strconv.Itoa(i+1), ln.Addr().String())
	}
	return airsidetest.Start(t, "admin: off\n"+config), s
}

func urls(g *airsidetest.Gateway) (plain, secure string) {
	return g.URL(airsidetest.H1, ""), g.URL(airsidetest.H2, "")
}

// The commands that the demo prints do what they say, in a shell, with curl.
func TestCurls(t *testing.T) {
	g, s := open(t)
	want := []string{`"resourceType":"Bundle"`, `"code":"unauthenticated"`, `"code":"denied"`, `"rule": "sore-throat"`, `"treatment": "amoxicillin"`}
	for i, c := range clinic.Curls(urls(g)) {
		t.Run(c.Title, func(t *testing.T) {
			command := strings.Replace(c.Command, "curl ", `curl -w '%{stderr}%{http_code}' `, 1) // the outer one only
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
			var out, status bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &status
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, &status)
			}
			if got := status.String(); got != strconv.Itoa(c.WantStatus) || !strings.Contains(out.String(), want[i]) {
				t.Errorf("got %s, want %d and %s in\n%s", got, c.WantStatus, want[i], &out)
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff([]string{"doctor", "nurse", "doctor", "doctor", "doctor"}, s.callers); diff != "" {
		t.Errorf("callers that the agents heard of (-want +got)\n%s", diff)
	}
	if len(s.leaked) > 0 {
		t.Errorf("keys reached the agents: %q", s.leaked)
	}
}

// The README prints the commands of the demo, at the ports of the configuration.
func TestREADMEHasTheCurls(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clinic.Curls("http://127.0.0.1:8080", "https://127.0.0.1:8443") {
		if want := c.Title + ":\n\n```sh\n" + c.Command + "\n```\n"; !strings.Contains(string(b), want) {
			t.Errorf("the README lacks\n%s", want)
		}
	}
}

// send sends one request with a key and returns status and body.
func send(t *testing.T, g *airsidetest.Gateway, method, path, key, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL(airsidetest.H1, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := g.Client(airsidetest.H1).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestDoors(t *testing.T) {
	g, s := open(t)
	const complaint = `{"text": "cough", "who": {"id": "p-001"}}`
	for _, tt := range []struct {
		method, path, key, body string
		status                  int
		want                    string
	}{
		{"GET", "/", "", "", 200, "A clinic behind Airside"},
		{"GET", "/records/patients", "", "", 401, "unauthenticated"},
		{"GET", "/records/patients", "a-key-that-nobody-gave-out", "", 401, "unauthenticated"},
		{"GET", "/records/patients?name=ada", clinic.NurseKey, "", 200, `"total": 1`},
		{"GET", "/records/patients/p-001", clinic.NurseKey, "", 200, "Testperson"},
		{"GET", "/records/patients/p-001/record", clinic.NurseKey, "", 403, "denied"},
		{"GET", "/records/patients/p-001/record/", clinic.NurseKey, "", 404, "not_found"},
		{"GET", "/records/patients/p-001/%72ecord", clinic.NurseKey, "", 403, "denied"},
		{"GET", "/records/patients/p-999/record", clinic.DoctorKey, "", 404, "OperationOutcome"},
		{"GET", "/records/patients/p-999/summary", clinic.NurseKey, "", 404, "OperationOutcome"},
		{"DELETE", "/records/patients/p-001", clinic.DoctorKey, "", 405, "method_not_allowed"},
		{"GET", "/symptoms/rules", clinic.NurseKey, "", 200, "chest-pain"},
		{"POST", "/symptoms/assess", clinic.NurseKey, complaint, 200, `"urgency"`},
		{"POST", "/symptoms/assess", clinic.NurseKey, `{"text": "` + strings.Repeat("a", 17<<10) + `"}`, 413, "too_large"},
		{"POST", "/treatment/suggest", clinic.NurseKey, `{}`, 403, "denied"},
		{"POST", "/treatment/suggest", clinic.DoctorKey, `{}`, 400, `\"record\" is needed`},
	} {
		status, body, _ := send(t, g, tt.method, tt.path, tt.key, tt.body, "X-Caller", "doctor", "X_Caller", "doctor", "Cookie", "a=b")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: got %d, want %d and %q in\n%s", tt.method, tt.path, status, tt.status, tt.want, body)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.callers {
		if c != "nurse" && c != "doctor" {
			t.Errorf("an agent heard of caller %q", c)
		}
	}
	if len(s.leaked) > 0 {
		t.Errorf("keys or cookies reached the agents: %q", s.leaked)
	}
}

func TestSummaryIsMadeOfTheRecord(t *testing.T) {
	g, _ := open(t)
	status, body, header := send(t, g, "GET", "/records/patients/p-011/summary", clinic.NurseKey, "")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("got %d, %v\n%s", status, err, body)
	}
	want := map[string]any{
		"id": "p-011", "name": "Kaya Sandbox", "born": "1938-05-01",
		"conditions": []any{"Chronic obstructive lung disease", "Osteoarthritis"}, // the anemia is resolved
		"allergies":  []any{"Bee venom (substance)"}, "medications": []any{"Prednisolone", "Albuterol"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if strings.Contains(body, "555-01") || !strings.Contains(header.Get("Content-Type"), "json") {
		t.Errorf("%s: the summary tells too much, or is no JSON:\n%s", header.Get("Content-Type"), body)
	}
}

// A loop with one key ends in 429; another caller goes on.
func TestLoopIsLimitedByCaller(t *testing.T) {
	g, _ := open(t)
	limited := 0
	for range 25 {
		status, _, header := send(t, g, "GET", "/records/patients/p-001", clinic.NurseKey, "")
		if status != 429 {
			continue
		}
		limited++
		if header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if limited == 0 || limited > 5 {
		t.Errorf("%d of 25 requests were limited, want about 5", limited)
	}
	if status, _, _ := send(t, g, "GET", "/records/patients/p-001", clinic.DoctorKey, ""); status != 200 {
		t.Errorf("the doctor got %d", status)
	}
}

// Events pass through the gateway as they are.
func TestStreamThroughTheGateway(t *testing.T) {
	g, _ := open(t)
	status, body, header := send(t, g, "POST", "/symptoms/assess", clinic.NurseKey, `{"text": "fever and a cough"}`, "Accept", "text/event-stream")
	if status != 200 || header.Get("Content-Type") != "text/event-stream" || strings.Count(body, "event: match\n") != 2 || strings.Count(body, "event: done\n") != 1 {
		t.Errorf("got %d %s\n%s", status, header.Get("Content-Type"), body)
	}
}
