package apikey

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// The bounds of a key, in characters, and of the file, in bytes.
const (
	minKey  = 16
	maxKey  = 512
	maxFile = 64 << 20
)

type digest = [sha256.Size]byte

// A ring is the keys that are known, by their SHA-256.
type ring struct {
	owners map[digest]*owner
}

type owner struct {
	caller   airside.Caller
	expires  time.Time
	disabled bool
}

// cut makes a ring of the configuration.
func cut(c *Config) (*ring, error) {
	r := &ring{owners: map[digest]*owner{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Keys)) {
		k := c.Keys[name]
		o := &owner{caller: airside.Caller{ID: name, Claims: k.Claims}, expires: k.Expires, disabled: k.Disabled}
		errs = append(errs, r.addAll("keys."+name, o, &k))
	}
	if c.File != "" {
		if err := r.load(c.File, c.Keys); err != nil {
			errs = append(errs, airside.FieldErrorf("file", "%w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(r.owners) == 0 {
		return nil, airside.FieldErrorf("keys", "there is no key; make one by: openssl rand -hex 32")
	}
	return r, nil
}

func (r *ring) addAll(field string, o *owner, k *Key) error {
	if o.caller.ID == "" {
		return airside.FieldErrorf(field, "a caller needs a name")
	}
	if len(k.Key)+len(k.Hash) == 0 {
		return airside.FieldErrorf(field, "give key or hash")
	}
	var errs []error
	for i, secret := range k.Key {
		at := field + ".key[" + strconv.Itoa(i) + "]"
		if err := checkKey(string(secret)); err != nil {
			errs = append(errs, airside.FieldErrorf(at, "%w", err))
			continue
		}
		if err := r.add(sha256.Sum256([]byte(secret)), o); err != nil {
			errs = append(errs, airside.FieldErrorf(at, "%w", err))
		}
	}
	for i, text := range k.Hash {
		at := field + ".hash[" + strconv.Itoa(i) + "]"
		d, err := parseHash(text)
		if err == nil {
			err = r.add(d, o)
		}
		if err != nil {
			errs = append(errs, airside.FieldErrorf(at, "%w", err))
		}
	}
	return errors.Join(errs...)
}

// checkKey refuses keys that can be guessed or not be sent. The error does not
// show the key.
func checkKey(key string) error {
	switch {
	case len(key) < minKey:
		return fmt.Errorf("a key of less than %d characters can be guessed; make one by: openssl rand -hex 32", minKey)
	case len(key) > maxKey:
		return fmt.Errorf("a key has at most %d characters", maxKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return errors.New("a key has visible ASCII characters only, and no space")
		}
	}
	return nil
}

// parseHash reads sha256:HEX.
func parseHash(text string) (digest, error) {
	var d digest
	digits, ok := strings.CutPrefix(text, "sha256:")
	if ok && len(digits) == hex.EncodedLen(len(d)) {
		if _, err := hex.Decode(d[:], []byte(digits)); err == nil {
			return d, nil
		}
	}
	return d, errors.New("a hash is sha256: and 64 hexadecimal digits, as of: printf %s KEY | sha256sum")
}

func (r *ring) add(d digest, o *owner) error {
	if d == sha256.Sum256(nil) {
		return errors.New("this is the hash of nothing")
	}
	other, taken := r.owners[d]
	switch {
	case !taken:
		r.owners[d] = o
		return nil
	case other == o:
		return errors.New("this key is given twice")
	}
	return fmt.Errorf("this is the key of %q too", other.caller.ID)
}

// load adds the keys of a file. Its callers have other names than those of keys.
func (r *ring) load(name string, keys map[string]Key) error {
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxFile {
		return fmt.Errorf("%s is larger than %s", name, airside.Size(maxFile))
	}
	named := map[string]*owner{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		if err := r.line(lines.Text(), named, keys); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// line adds the key of one line. The error does not show the line: someone may
// have put a key there.
func (r *ring) line(line string, named map[string]*owner, keys map[string]Key) error {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil
	}
	name, hash, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return errors.New("a line is NAME:sha256:HEX")
	}
	d, err := parseHash(hash)
	if err != nil {
		return err
	}
	if _, both := keys[name]; both {
		return fmt.Errorf("%q is the name of a caller in keys; write all its keys there", name)
	}
	if named[name] == nil {
		named[name] = &owner{caller: airside.Caller{ID: name}}
	}
	return r.add(d, named[name])
}

// Why a key is not taken, for the client.
var (
	errNoKey    = errors.New("no key")
	errUnknown  = errors.New("the API key is not known")
	errExpired  = errors.New("the API key has expired")
	errDisabled = errors.New("the API key is disabled")
)

// owner finds whose key it is. The time it takes depends on the hash of the key
// and on nothing that a guess could be led by.
func (r *ring) owner(key string) (*owner, error) {
	if key == "" {
		return nil, errNoKey
	}
	if len(key) > maxKey {
		return nil, errUnknown
	}
	var buf [maxKey]byte
	o := r.owners[sha256.Sum256(append(buf[:0], key...))]
	switch {
	case o == nil:
		return nil, errUnknown
	case o.disabled:
		return nil, errDisabled
	case !o.expires.IsZero() && !time.Now().Before(o.expires):
		return nil, errExpired
	}
	return o, nil
}
