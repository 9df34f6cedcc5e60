// Package apikey admits callers who present an API key.
//
// Use it for programs: one key for each, so that each can be told apart, limited
// and locked out. It is an authentication policy: it sets the caller.
//
//	policies:
//	  programs:
//	    apikey:
//	      keys:
//	        ward: 8vYq2mZc7nRt4KpX9sLd
//	        billing:
//	          hash: sha256:9b74c9897bac770ffc029102a200c5de3f3d7d2ee6b7a0d1fb2cf0e5e5e8d5c3
//	          claims: { roles: [clerk], tenant: north }
//	          expires: 2099-12-31T00:00:00Z
//	        old-laptop: { key: c2Nxw8Rj5tVb3Gh6Yd0F, disabled: true }
//
//	routes:
//	  - { path: /agent1/*, use: [programs, { allow: '"clerk" in caller.claims.roles' }], to: http://127.0.0.1:9001 }
//
// Rather than in the file, keep keys in the environment (ward: "${env:WARD_KEY}"),
// or write their SHA-256 only, which is enough to recognise a key and no use to a
// thief:
//
//	openssl rand -hex 32
//	printf %s KEY | sha256sum
//
// caller.id is the name before the key; caller.claims are what claims says. A
// caller may have several keys, as while one takes over from another:
// key: ["${env:NEW_KEY}", "${env:OLD_KEY}"].
//
// file names a file of more keys, one a line, as NAME:sha256:HEX; empty lines and
// lines that begin with # are left out. It is read when the configuration is.
//
// # Where the key is
//
// In X-Api-Key, or in Authorization as "Bearer KEY"; in says which headers
// otherwise (X-Goog-Api-Key for Gemini's clients, Api-Key for Azure's), and query
// a query parameter as well, which logs along the way may keep: avoid it. An
// Authorization of another scheme is left alone. The key may be in several places,
// if it is the same. It never reaches the agent: every place, in every spelling,
// is emptied.
//
// # What the client sees
//
// 401, code unauthenticated, with WWW-Authenticate, if there is no key, or none
// that is known, or one that is disabled or has expired. 400 if two keys that
// differ are presented. A retry before this policy starts from the request with
// the key.
//
// # Bounds
//
// A key has 16 to 512 characters, all of them visible ASCII: it must be random,
// since nothing slows down who guesses. Keys are kept as SHA-256 and found by it,
// so that no time tells how much of a guess was right. The file has at most 64 MiB.
package apikey

import (
	"net/http"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("apikey", New) }

// Config is the settings of the policy.
type Config struct {
	// Keys maps the name of a caller to the key.
	Keys map[string]Key `yaml:"keys"`
	// File names a file of further keys, one NAME:sha256:HEX a line.
	File string `yaml:"file,path"`
	// In are the headers in which the key may be. Default X-Api-Key and
	// Authorization; the latter holds "Bearer KEY".
	In []string `yaml:"in,single"`
	// Query is the query parameter in which the key may be. Default none.
	Query string `yaml:"query"`
}

// A Key is what is known of a caller. It may be written as the key alone.
type Key struct {
	// Key is the key, or several of them.
	Key []airside.Secret `yaml:"key,single"`
	// Hash is the SHA-256 of a key, as sha256:HEX, or several of them.
	Hash []string `yaml:"hash,single"`
	// Claims are what policies and rules know of the caller, as caller.claims.
	Claims map[string]any `yaml:"claims"`
	// Expires is when the keys cease to be valid, as 2030-01-31T00:00:00Z. Default
	// never.
	Expires time.Time `yaml:"expires"`
	// Disabled locks the caller out. Default false.
	Disabled bool `yaml:"disabled"`
}

// UnmarshalText takes the key alone.
func (k *Key) UnmarshalText(text []byte) error {
	k.Key = []airside.Secret{airside.Secret(text)}
	return nil
}

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.In = []string{"X-Api-Key", "Authorization"} }

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	ring, err := cut(&c)
	if err != nil {
		return nil, err
	}
	p := newPlaces(&c)
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			key, err := p.find(x.Request)
			if err != nil {
				return nil, err
			}
			owner, err := ring.owner(key)
			if err != nil {
				return nil, p.challenge(err, key != "")
			}
			x.Caller = owner.caller
			// Whoever stands before this policy can send the first request again.
			before := x.Request
			e := web.Edit{Header: before.Header}
			defer func() {
				e.Undo()
				x.Request = before
			}()
			x.Request = p.strip(before, &e)
			return next.Handle(x)
		})
	}, nil
}
