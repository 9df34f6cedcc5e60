package edge

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/telemetry"
)

// drop takes every line.
type drop struct{}

func (drop) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkAccess measures the line of an exchange: as usual, and with a choice.
func BenchmarkAccess(b *testing.B) {
	log, err := telemetry.NewLog(drop{}, telemetry.JSON, slog.LevelInfo, false)
	if err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		choice *Choice
	}{
		{"usual", nil},
		{"chosen", &Choice{
			Sample: 1, Faults: true, Names: map[string]string{"in": "", "out": "", "client": "remote"},
			Keep: func(x *airside.Exchange, _ *airside.Outcome) bool { return x.Request.URL.Path != "/status" },
		}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := &Server{}
			s.Log = log
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://h/agents/symptoms", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			e := &exchange{server: s, choice: tt.choice, method: "POST", host: "gateway.example", path: "/agents/symptoms", major: 1}
			e.x = airside.NewExchange(r, log)
			e.x.ID, e.x.Route, e.x.Upstream, e.x.Endpoint = "0123456789abcdef0123", "/agents/*", "agent", "http://127.0.0.1:9001"
			o := airside.Outcome{Status: 200, Received: 1024, Sent: 1024, Duration: 3 * time.Millisecond}
			b.ReportAllocs()
			for b.Loop() {
				s.access(e, o)
			}
		})
	}
}
