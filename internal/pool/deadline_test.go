package pool

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/airside-gateway/airside"
)

// TestDeadlineTold proves what an agent is told in a try, and that the client's request
// stays as it was.
func TestDeadlineTold(t *testing.T) {
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	const grpc = "application/grpc+proto"
	tests := []struct {
		name    string
		tells   Deadline
		in      http.Header
		total   time.Duration // of the upstream; 0 none
		route   time.Duration // of the context; 0 none
		try     time.Duration // of the try; 0 none
		name1   string
		want    string
		passed  bool // the header goes on as it came
		aliases bool
	}{
		{name: "nothing to tell", tells: Deadline{Header: "Request-Timeout"}, in: header(), name1: "Request-Timeout", passed: true},
		{name: "nothing is asked for", in: header(), total: time.Second, name1: "Request-Timeout", passed: true},
		{name: "total", tells: Deadline{Header: "Request-Timeout"}, in: header(), total: 1500 * time.Millisecond, name1: "Request-Timeout", want: "1500"},
		{name: "route", tells: Deadline{Header: "x-envoy-expected-rq-timeout-ms"}, in: header(), total: time.Minute, route: time.Second, name1: "X-Envoy-Expected-Rq-Timeout-Ms", want: "1000"},
		{name: "try", tells: Deadline{Header: "Request-Timeout"}, in: header(), total: time.Minute, route: time.Second, try: 250 * time.Millisecond, name1: "Request-Timeout", want: "250"},
		{name: "seconds", tells: Deadline{Header: "Request-Timeout", Format: "s"}, in: header(), total: 1500 * time.Millisecond, name1: "Request-Timeout", want: "1.5"},
		{name: "as gRPC", tells: Deadline{Header: "Request-Timeout", Format: "grpc"}, in: header(), total: time.Second, name1: "Request-Timeout", want: "1000m"},
		{name: "what the client says is replaced", tells: Deadline{Header: "Request-Timeout"}, in: header("Request_Timeout", "9", "Request-Timeout", "99999"), total: time.Second, name1: "Request-Timeout", want: "1000", aliases: true},
		{name: "grpc lowered", in: header("Content-Type", grpc, "Grpc-Timeout", "1H"), total: time.Second, name1: "Grpc-Timeout", want: "1000m"},
		{name: "grpc lower", in: header("Content-Type", grpc, "Grpc-Timeout", "100m"), total: time.Second, name1: "Grpc-Timeout", want: "100m"},
		{name: "grpc set", in: header("Content-Type", grpc), total: 200000 * time.Second, name1: "Grpc-Timeout", want: "200000S"},
		{name: "grpc nonsense", in: header("Content-Type", grpc, "Grpc-Timeout", "1"), total: time.Second, name1: "Grpc-Timeout", want: "1000m"},
		{name: "grpc without a bound", in: header("Content-Type", grpc, "Grpc-Timeout", "7S"), name1: "Grpc-Timeout", want: "7S", passed: true},
		{name: "no gRPC", in: header("Grpc-Timeout", "1H"), total: time.Second, name1: "Grpc-Timeout", want: "1H", passed: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := exchange(t, "POST", "/", nil)
				x.Request.Header = tt.in
				ctx := x.Context()
				if tt.route > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.route)
					defer cancel()
				}
				if tt.try > 0 {
					ctx = endingAt(ctx, time.Now().Add(tt.try))
				}
				x.Request = x.Request.WithContext(ctx)
				var end time.Time
				if tt.total > 0 {
					end = time.Now().Add(tt.total)
				}
				before := tt.in.Clone()
				out := tt.tells.tell(x, end)
				if got := out.Header.Get(tt.name1); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if tt.passed && out != x.Request {
					t.Error("the request was copied though there is nothing to change")
				}
				if tt.aliases && len(out.Header) != 1 {
					t.Errorf("got %v", out.Header)
				}
				if len(before) != len(x.Request.Header) || before.Get(tt.name1) != x.Request.Header.Get(tt.name1) {
					t.Errorf("the request was changed: %v", x.Request.Header)
				}
			})
		})
	}
}

// TestDeadlinePerTry proves that each try is told what is left for it, and that the agent
// is told by the wire on both engines.
func TestDeadlinePerTry(t *testing.T) {
	var told []string
	p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		told = append(told, r.Header.Get("Request-Timeout"))
		w.WriteHeader(http.StatusServiceUnavailable)
	}), link(), func(s *Settings) {
		s.Limits.Total = time.Hour
		s.Deadline = Deadline{Header: "Request-Timeout"}
		s.Retry = retry(func(r *Retry) { r.Attempts, r.PerTry, r.Backoff = 2, 30*time.Minute, time.Millisecond })
	})
	if _, _, err := asks(t, p, exchange(t, "GET", "/", nil)); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || len(told[0]) != 7 || told[0] > "1800000" || told[0] < "1700000" || told[1] < "1700000" {
		t.Errorf("got %q", told)
	}
}

// TestDeadlineFromClient proves whose bounds are heeded, and what the client sees.
func TestDeadlineFromClient(t *testing.T) {
	tests := []struct {
		name  string
		tells Deadline
		in    http.Header
		want  time.Duration // 0: no bound
	}{
		{"not heeded", Deadline{Header: "Request-Timeout"}, http.Header{"Request-Timeout": {"100"}}, 0},
		{"heeded", Deadline{Header: "Request-Timeout", FromClient: true}, http.Header{"Request-Timeout": {"100"}}, 100 * time.Millisecond},
		{"nonsense", Deadline{Header: "Request-Timeout", FromClient: true}, http.Header{"Request-Timeout": {"soon"}}, 0},
		{"twice", Deadline{Header: "Request-Timeout", FromClient: true}, http.Header{"Request-Timeout": {"100", "200"}}, 0},
		{"gRPC", Deadline{FromClient: true}, http.Header{"Grpc-Timeout": {"50m"}, "Content-Type": {"application/grpc"}}, 50 * time.Millisecond},
		{"no gRPC", Deadline{FromClient: true}, http.Header{"Grpc-Timeout": {"50m"}}, 0},
		{"the shorter", Deadline{Header: "Request-Timeout", Format: "s", FromClient: true}, http.Header{"Request-Timeout": {"0.02"}, "Grpc-Timeout": {"50m"}, "Content-Type": {"application/grpc"}}, 20 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := exchange(t, "POST", "/", nil)
				x.Request.Header = tt.in
				tt.tells.heed(x)
				defer x.Finish(airside.Outcome{})
				deadline, ok := x.Context().Deadline()
				if got := time.Until(deadline); ok != (tt.want > 0) || ok && got != tt.want {
					t.Errorf("got %s, %t, want %s", got, ok, tt.want)
				}
				if ok {
					<-x.Context().Done()
					if e := wantCode(t, ended(x.Context()), airside.Timeout); !strings.Contains(e.Message, "request allows") {
						t.Errorf("got %q", e.Message)
					}
				}
			})
		})
	}
}

// TestDeadlineSettings proves which settings are refused.
func TestDeadlineSettings(t *testing.T) {
	for _, d := range []Deadline{{}, {Header: "Request-Timeout", Format: "s"}, {Header: "x-t", Format: "grpc", FromClient: true}} {
		if err := d.Validate(); err != nil {
			t.Errorf("%+v: %v", d, err)
		}
	}
	for _, d := range []Deadline{{Header: "Host"}, {Header: "content-length"}, {Header: "Authorization"}, {Header: "a b"}, {Header: "x_t"}, {Format: "h"}} {
		if d.Validate() == nil {
			t.Errorf("%+v was taken", d)
		}
	}
}

// FuzzTimeout proves that what is read of a time is in bounds, and that what is written
// of it can be read, and is not more.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"1", "1.5", "1e300", "NaN", "-1", "1H", "99999999H", "100000000m", "5n", "", "m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []string{"", FormatMilliseconds, FormatSeconds, FormatGRPC} {
			d, ok := parseTimeout(s, format)
			if !ok {
				continue
			}
			if d <= 0 || d > maxTimeout {
				t.Errorf("%q as %q is %s", s, format, d)
			}
			if d < time.Millisecond {
				continue
			}
			if again, ok := parseTimeout(writeTimeout(d, format), format); !ok || again > d || d-again > d/10 && d-again > time.Millisecond {
				t.Errorf("%s was written as %q in %q", d, writeTimeout(d, format), format)
			}
		}
	})
}
