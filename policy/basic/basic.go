// Package basic admits people who log in with a name and a password, by HTTP Basic
// authentication (RFC 7617).
//
// Use it for a few people and simple tools, over TLS only: the password goes with
// every request. For programs use apikey; for many people, an identity provider
// (a later version brings jwt and oidc). It is an authentication policy: it sets the caller.
//
//	policies:
//	  people:
//	    basic:
//	      realm: clinic
//	      users:
//	        alice: $pbkdf2-sha256$i=600000$AAECAwQFBgcICQoLDA0ODw$lqWQTC4IyNpCMF28xdfPGOrSY21J9ZUmtgbyZpYoFHM
//	        bob:
//	          hash: $pbkdf2-sha256$i=600000$AAECAwQFBgcICQoLDA0ODw$lqWQTC4IyNpCMF28xdfPGOrSY21J9ZUmtgbyZpYoFHM
//	          claims: { roles: [doctor] }
//
//	routes:
//	  - { path: /agent1/*, use: [people], to: http://127.0.0.1:9001 }
//
// A password is written as its hash, which this makes:
//
//	python3 -c 'import base64, getpass, hashlib, os
//	salt = os.urandom(16)
//	text = lambda b: base64.b64encode(b).decode().rstrip("=")
//	key = hashlib.pbkdf2_hmac("sha256", getpass.getpass().encode(), salt, 600000)
//	print("$pbkdf2-sha256$i=600000$" + text(salt) + "$" + text(key))'
//
// or it comes from the environment: bob: { password: "${env:BOB_PASSWORD}" }, of at
// least 8 characters.
//
// caller.id is the name, caller.claims are what claims says. The agent does not see
// the password: Authorization is removed in every spelling.
//
// # What the client sees
//
// 401, code unauthenticated, with WWW-Authenticate, if there is no name and
// password, or a wrong one: the same for a name that is not known, after the same
// time. 503, code unavailable, with Retry-After, if more logins are waiting to be
// checked than can be in a few seconds. A retry before this policy starts from the
// request with the password.
//
// # Bounds
//
// To check a password takes about a tenth of a second of one CPU, on purpose. All
// policies of this kind together use half of the CPUs for it; 32 more checks wait.
// What was checked once is remembered, by a keyed hash: the last 4096 logins that
// were right and the last 1024 that were not. So guessing slows down other first
// logins, and nothing else; a ratelimit before this policy slows down who guesses.
//
// At most 10000 users, 100 of them with password rather than hash. 100000 to
// 2000000 iterations; every check takes the time of the most that a user has. A name and password have 1 KiB together at most.
package basic

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("basic", New) }

// The bounds of the settings.
const (
	maxUsers     = 10_000
	maxPasswords = 100
	minPassword  = 8
)

// Config is the settings of the policy.
type Config struct {
	// Users maps the name of a user to the hash of the password.
	Users map[string]User `yaml:"users,required"`
	// Realm is what browsers show when they ask for the password. Default airside.
	Realm string `yaml:"realm"`
}

// A User is what is known of a user. It may be written as the hash alone.
type User struct {
	// Hash is the hash of the password: $pbkdf2-sha256$i=ITERATIONS$SALT$KEY, salt
	// and key in base64 without padding.
	Hash airside.Secret `yaml:"hash"`
	// Password is the password itself, for one that comes from the environment.
	Password airside.Secret `yaml:"password"`
	// Claims are what policies and rules know of the user, as caller.claims.
	Claims map[string]any `yaml:"claims"`
}

// UnmarshalText takes the hash alone.
func (u *User) UnmarshalText(text []byte) error {
	u.Hash = airside.Secret(text)
	return nil
}

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Realm = "airside" }

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Users) == 0 || len(c.Users) > maxUsers {
		errs = append(errs, airside.FieldErrorf("users", "name 1 to %d users", maxUsers))
	}
	passwords := 0
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		u, field := c.Users[name], "users."+name
		switch {
		case name == "" || strings.Contains(name, ":") || !printable(name):
			errs = append(errs, airside.FieldErrorf(field, "the name of a user is not empty and has no colon and no control character"))
		case (u.Hash == "") == (u.Password == ""):
			errs = append(errs, airside.FieldErrorf(field, "give hash or password"))
		case u.Password != "" && (len(u.Password) < minPassword || !printable(string(u.Password))):
			errs = append(errs, airside.FieldErrorf(field+".password", "a password has at least %d characters, and no control character", minPassword))
		case len(name)+1+len(u.Password) > maxCredentials:
			errs = append(errs, airside.FieldErrorf(field, "name and password are longer than %s", airside.Size(maxCredentials)))
		}
		if u.Password != "" {
			passwords++
		}
	}
	if passwords > maxPasswords {
		errs = append(errs, airside.FieldErrorf("users", "more than %d users have a password in place of a hash", maxPasswords))
	}
	if c.Realm == "" || !printable(c.Realm) || strings.ContainsAny(c.Realm, `"\`) {
		errs = append(errs, airside.FieldErrorf("realm", `is a name without ", \ and control characters`))
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	v, err := newVerifier(env, c.Users)
	if err != nil {
		return nil, err
	}
	challenge := `Basic realm="` + c.Realm + `", charset="UTF-8"`
	return func(next airside.Handler) airside.Handler { return &door{v, challenge, next} }, nil
}

type door struct {
	verifier  *verifier
	challenge string
	next      airside.Handler
}

// Handle implements [airside.Handler].
func (d *door) Handle(x *airside.Exchange) (*http.Response, error) {
	credentials, ok := parse(x.Request.Header["Authorization"])
	if !ok {
		return nil, refuse(d.challenge, "send a user name and a password, by HTTP Basic authentication")
	}
	caller, err := d.verifier.verify(x.Context(), credentials)
	switch {
	case errors.Is(err, errWrong):
		return nil, refuse(d.challenge, "the user name or the password is wrong")
	case errors.Is(err, errBusy):
		e := airside.Errorf(airside.Unavailable, "too many logins wait to be checked; try again")
		e.RetryAfter = time.Second
		return nil, e
	case err != nil:
		return nil, err
	}
	x.Caller = caller
	// Whoever stands before this policy can send the first request again.
	e := web.Edit{Header: x.Request.Header}
	defer e.Undo()
	e.Del("Authorization")
	return d.next.Handle(x)
}

func refuse(challenge, message string) error {
	e := airside.Errorf(airside.Unauthenticated, "%s", message)
	e.Header = http.Header{"Www-Authenticate": {challenge}}
	return e
}
