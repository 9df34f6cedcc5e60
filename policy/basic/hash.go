package basic

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCredentials bounds "name:password", in bytes.
const maxCredentials = 1 << 10

// parse reads the lines of Authorization: one, Basic and the base64 of
// "name:password", in UTF-8 and without control characters (RFC 7617 section 2).
func parse(lines []string) (credentials string, ok bool) {
	const scheme = "Basic "
	if len(lines) != 1 || len(lines[0]) < len(scheme) || !strings.EqualFold(lines[0][:len(scheme)], scheme) {
		return "", false
	}
	text := strings.Trim(lines[0][len(scheme):], " ")
	if base64.StdEncoding.DecodedLen(len(text)) > maxCredentials+2 || strings.ContainsAny(text, "\r\n") {
		return "", false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) > maxCredentials {
		return "", false
	}
	credentials = string(b)
	return credentials, strings.Contains(credentials, ":") && printable(credentials)
}

// printable reports whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// The bounds of a hash.
const (
	minIterations   = 100_000
	maxIterations   = 2_000_000
	ownIterations   = minIterations // of a password that is not kept on disk by us
	minSalt, minKey = 8, 16
	maxSalt, maxKey = 64, sha256.Size
)

// A hash is a password as PBKDF2 with HMAC-SHA-256 makes it (RFC 8018 section 5.2).
type hash struct {
	iterations int
	salt, key  []byte
}

var errForm = errors.New("a hash is $pbkdf2-sha256$i=600000$SALT$KEY; those of htpasswd are not understood, and a password itself is written {password: ...}")

// parseHash reads $pbkdf2-sha256$i=600000$SALT$KEY, the PHC string format
// (https://github.com/P-H-C/phc-string-format), and passlib's variant of it:
// iterations without i=, and . for +. The error does not show the hash.
func parseHash(text string) (hash, error) {
	part := strings.Split(text, "$")
	if len(part) != 5 || part[0] != "" || part[1] != "pbkdf2-sha256" {
		return hash{}, errForm
	}
	n, err := strconv.Atoi(strings.TrimPrefix(part[2], "i="))
	if err != nil {
		return hash{}, errForm
	}
	if n < minIterations || n > maxIterations {
		return hash{}, fmt.Errorf("the hash has %d iterations; %d to %d are allowed", n, minIterations, maxIterations)
	}
	h := hash{iterations: n}
	if h.salt, err = unbase64(part[3]); err != nil {
		return hash{}, errForm
	}
	if h.key, err = unbase64(part[4]); err != nil {
		return hash{}, errForm
	}
	if len(h.salt) < minSalt || len(h.salt) > maxSalt || len(h.key) < minKey || len(h.key) > maxKey {
		return hash{}, fmt.Errorf("the salt of a hash has %d to %d bytes, and the key %d to %d", minSalt, maxSalt, minKey, maxKey)
	}
	return h, nil
}

func unbase64(s string) ([]byte, error) {
	return base64.RawStdEncoding.Strict().DecodeString(strings.ReplaceAll(s, ".", "+"))
}

// newHash makes a hash of a password.
func newHash(password string) (hash, error) {
	h := hash{iterations: ownIterations, salt: make([]byte, minKey)}
	if _, err := rand.Read(h.salt); err != nil {
		return hash{}, err
	}
	var err error
	h.key, err = pbkdf2.Key(sha256.New, password, h.salt, h.iterations, sha256.Size)
	return h, err
}

// matches reports whether the password is the one of h. It does the work of so
// many iterations in all, whatever h is, so that time does not tell the users
// apart.
func (h *hash) matches(password string, iterations int) (bool, error) {
	key, err := pbkdf2.Key(sha256.New, password, h.salt, h.iterations, len(h.key))
	if err != nil {
		return false, err
	}
	if rest := iterations - h.iterations; rest > 0 {
		if _, err := pbkdf2.Key(sha256.New, password, h.salt, rest, len(h.key)); err != nil {
			return false, err
		}
	}
	return subtle.ConstantTimeCompare(key, h.key) == 1, nil
}
