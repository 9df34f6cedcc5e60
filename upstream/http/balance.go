package http

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
	"github.com/airside-gateway/airside/internal/pool/balance"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// Balance says how an endpoint is chosen. It may be written as the way alone.
type Balance struct {
	// By is the way. "round_robin", the default: in turn, each as often as its weight
	// says, evenly. "random": by dice, each as likely as its weight says. "least_request":
	// of two that are drawn by weight, the one with fewer exchanges under way. "peak_ewma":
	// of two that are drawn by weight, the one that is likely to answer sooner, by how long
	// its answers took to begin lately and what is under way; a slow or failed one counts
	// at once. "hash": by what hash says, which may be written without by.
	By string `yaml:"by" enum:"round_robin,random,least_request,peak_ewma,hash"`

	// Hash is a CEL expression over the exchange. Exchanges for which it gives the same
	// text go to the same endpoint, as long as that is well and not too busy; when an
	// endpoint comes or goes, only its own share of the texts moves. Where it fails, or
	// gives an empty text, the endpoint is drawn by dice.
	Hash string `yaml:"hash"`

	// Load is how much more than the average an endpoint bears, with hash, before others
	// help it out: in multiples of the average number of exchanges under way, by weight, 1
	// to 100. The default is 1.25; 0 means no bound.
	Load float64 `yaml:"load"`

	// SlowStart is how long an endpoint is spared that has come while others were there,
	// or has come back to health: its share grows evenly from a tenth to the whole. The
	// default is 0: not at all.
	SlowStart time.Duration `yaml:"slow_start"`

	// Zone is the zone that the gateway runs in. Endpoints of that zone get everything, as
	// long as enough of them are well. The default is none: zones do not matter.
	Zone string `yaml:"zone"`

	// ZoneOverflow is the share of the endpoints of the gateway's zone, by weight, that
	// must be well for them to get everything. Below it they get their part of it, and the
	// other zones the rest: of 70% when 35% are well, half. The default is 70%.
	ZoneOverflow health.Share `yaml:"zone_overflow"`
}

// Defaults sets every field to its default.
func (b *Balance) Defaults() { *b = Balance{Load: 1.25, ZoneOverflow: 0.7} }

var ways = []string{balance.RoundRobin, balance.Random, balance.LeastRequest, balance.PeakEWMA}

// UnmarshalText takes the name of a way for the whole.
func (b *Balance) UnmarshalText(text []byte) error {
	b.Defaults()
	b.By = string(text)
	switch {
	case b.By == balance.Hash:
		return errors.New("hash needs an expression: { hash: <CEL> }")
	case !slices.Contains(ways, b.By):
		return errors.New("expected one of " + strings.Join(ways, ", ") + ", or a mapping such as { hash: <CEL> }")
	}
	return nil
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (b *Balance) Validate() error {
	var errs []error
	wrong := func(bad bool, field, message string) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, "%s", message))
		}
	}
	wrong(b.By == balance.Hash && b.Hash == "", "hash", "is needed to choose by hash")
	wrong(b.By != balance.Hash && b.By != "" && b.Hash != "", "hash", "is for the way hash only; leave out by")
	wrong(b.Load != 0 && !(b.Load >= 1 && b.Load <= 100), "load", "must be 1 to 100, or 0 for no bound")
	wrong(b.SlowStart < 0, "slow_start", "must not be negative")
	return errors.Join(errs...)
}

// settings are those of the pool.
func (b *Balance) settings() balance.Settings {
	by := cmp.Or(b.By, balance.RoundRobin)
	if b.Hash != "" {
		by = balance.Hash
	}
	return balance.Settings{By: by, SlowStart: b.SlowStart, Zone: b.Zone, Overflow: float64(b.ZoneOverflow), Load: b.Load}
}

// key returns what makes the key of an exchange; nil if there is no hash.
func (b *Balance) key(env *airside.Env) (func(*airside.Exchange) uint64, error) {
	if b.Hash == "" {
		return nil, nil
	}
	p, err := expr.Compile(b.Hash, expr.String, expr.At(env.Where+" balance"))
	if err != nil {
		return nil, airside.FieldErrorf("balance.hash", "%w", err)
	}
	return func(x *airside.Exchange) uint64 {
		text, err := p.Text(x)
		if err != nil || text == "" {
			return rand.Uint64() //nolint:gosec // nobody gains by guessing it
		}
		return balance.Key(text)
	}, nil
}
