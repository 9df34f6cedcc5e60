package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/airside-gateway/airside"
)

// Admin is where operators look into the gateway: an address, a mapping, or off.
type Admin struct {
	// Address is where the administration listens. The default is 127.0.0.1:9900. On an
	// address that others can reach, only /healthz and /readyz are served without a token.
	Address string `yaml:"address"`

	// Token is what operators show, as "Authorization: Bearer": 16 to 1024 characters, no
	// spaces. Where it is set, everything but /healthz and /readyz needs it, on the loopback
	// interface too; profiles are served only where it is set. The default is none.
	Token *airside.Secret `yaml:"token"`

	// TLS makes the administration speak TLS. The default is plain.
	TLS *AdminTLS `yaml:"tls"`

	// Recent is how many exchanges are kept to be looked at, from 0 to 20000; each takes
	// about 1KiB of memory. Beyond a thousand a second those that did well are left out,
	// unless somebody follows. The default is 1000.
	Recent int `yaml:"recent"`

	// Off is set by writing "admin: off".
	Off bool `yaml:"-"`
}

// AdminTLS is what the administration proves itself by.
type AdminTLS struct {
	// Cert is a file with the certificate and its chain, in PEM. A renewed file is taken
	// without a restart.
	Cert string `yaml:"cert,required,path"`

	// Key is a file with its private key, in PEM.
	Key string `yaml:"key,required,path"`
}

// The bounds of what is kept and shown.
const (
	maxRecent      = 20_000
	leastToken     = 16
	maxToken       = 1024
	defaultRecents = 1000
)

// Defaults sets what is not written.
func (a *Admin) Defaults() { a.Address, a.Recent = "127.0.0.1:9900", defaultRecents }

// openScalar says that the scalar form of the administration is its address, which is
// no secret.
func (a *Admin) openScalar() {}

// UnmarshalText reads an address, or "off".
func (a *Admin) UnmarshalText(b []byte) error {
	switch string(b) {
	case "off":
		a.Off = true
	case "false", "no", "none", "disabled":
		return errors.New("to switch the administration off, write off")
	default:
		a.Address = string(b)
	}
	return nil
}

// Validate checks the address, the token and the bounds.
func (a *Admin) Validate() error {
	errs := []error{inField("address", checkAddress(a.Address))}
	if a.Token != nil {
		errs = append(errs, inField("token", checkToken(string(*a.Token))))
	}
	if a.Recent < 0 || a.Recent > maxRecent {
		errs = append(errs, airside.FieldErrorf("recent", "must be from 0 to %d", maxRecent))
	}
	return errors.Join(errs...)
}

// checkToken refuses what can be guessed, and what no header can hold. An empty token,
// such as a variable of the environment that is not set, is no token.
func checkToken(token string) error {
	if len(token) < leastToken || len(token) > maxToken {
		return fmt.Errorf("must have from %d to %d characters (openssl rand -hex 16 makes one)", leastToken, maxToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("must be of letters, digits and signs, without spaces")
	}
	return nil
}
