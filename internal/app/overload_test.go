package app_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/overload"
)

const overloaded = `
listen: 127.0.0.1:0
admin: off
routes: [{ path: /*, use: [{ static: { body: fine } }] }]
`

// TestOverload proves that the setting overload is in force: at the memory limit every
// exchange is refused with 503 and Retry-After, none when there is room again, and none
// where it is off.
func TestOverload(t *testing.T) {
	var memory atomic.Uint64
	a := app.New(app.Settings{
		Log:  slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)),
		Load: func() overload.Reading { return overload.Reading{Memory: memory.Load(), Limit: 100} },
	})
	t.Cleanup(func() {
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	apply := func(more string) {
		t.Helper()
		c, err := app.Parse("airside.yaml", []byte(overloaded+more), config.Lookup{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + a.Addrs()["127.0.0.1:0"].String() + "/x")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	until := func(want int) string {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range 3000 {
			if got, again := ask(); got == want {
				return again
			}
			<-tick.C
		}
		t.Fatalf("no answer was %d", want)
		return ""
	}
	apply("")
	until(http.StatusOK)
	memory.Store(95)
	if again := until(http.StatusServiceUnavailable); again == "" {
		t.Error("the refusal does not say when to try again")
	}
	memory.Store(50)
	until(http.StatusOK)
	memory.Store(100)
	until(http.StatusServiceUnavailable)
	apply("overload: off\n")
	if got, _ := ask(); got != http.StatusOK {
		t.Errorf("%d where overload is off", got)
	}
}
