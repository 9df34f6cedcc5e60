package http

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// wellness returns what knows which endpoints are well, nil if nobody asks for it. It
// takes over that of the last generation if everything that it depends on is as it was.
// Host is which host agents are asked for.
func (c *Config) wellness(env *airside.Env, host string, cfg *tls.Config, digest [sha256.Size]byte) (*health.Group, error) {
	if c.Health == nil && c.Eject == nil && c.Breaker == nil {
		return nil, nil //nolint:nilnil // a pool knows what to do without
	}
	if host == pool.HostUpstream || host == pool.HostPreserve {
		host = ""
	}
	key := fmt.Sprintf("%s health %s %s %s %s %s %q %x", env.Where,
		shown(c.Health), shown(c.Eject), shown(c.Breaker), c.Panic, c.Protocol, host, digest)
	if c.Discover != nil {
		key += " " + c.URL // it says which name certificates must bear
	}
	return airside.Keep(env, key, func() (*health.Group, error) {
		return health.New(health.Settings{
			Check: c.Health, Eject: c.Eject, Breaker: c.Breaker, Panic: c.Panic,
			Log: env.Log, Protocol: c.Protocol, Host: host, TLS: cfg,
		}), nil
	})
}

// shown is what settings hold, if they are there.
func shown[T any](settings *T) string {
	if settings == nil {
		return "-"
	}
	return fmt.Sprintf("%+v", *settings)
}

// Start begins to check endpoints. It waits for nothing.
func (u *upstream) Start() {
	if u.health != nil {
		u.health.Start()
	}
}
