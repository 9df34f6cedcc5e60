package config

import (
	"strings"
	"testing"
)

// TestAdmin proves what may be written under admin, that a token is never shown, and that
// the address is.
func TestAdmin(t *testing.T) {
	const token = "0123456789abcdef"
	lookup := Lookup{Env: func(name string) (string, bool) { return map[string]string{"TOKEN": token, "EMPTY": ""}[name], true }}
	for _, tt := range []struct{ text, problem string }{
		{"admin: 127.0.0.1:9901", ""},
		{"admin: { address: ':9900', token: '${env:TOKEN}', recent: 0 }", ""},
		{"admin: { token: " + token + ", tls: { cert: a, key: b } }", ""},
		{"admin: { token: 0123456789abcde }", "token: must have from 16"},
		{"admin: { token: '${env:EMPTY}' }", "token: must have from 16"},
		{"admin: { token: '0123456789 abcdef' }", "without spaces"},
		{"admin: { tls: { cert: a } }", `missing key "key"`},
		{"admin: { recent: 20001 }", "recent: must be from 0 to 20000"},
		{"admin: { address: '9900' }", "a port alone is no address"},
	} {
		c, err := Parse("airside.yaml", []byte("routes: [{ to: 'http://127.0.0.1:1' }]\n"+tt.text), lookup, nil)
		if tt.problem == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.text, err)
				continue
			}
			dump := string(c.Dump())
			if strings.Contains(dump, token) {
				t.Errorf("%s: the token is shown: %s", tt.text, dump)
			}
			if strings.Contains(tt.text, "9901") && !strings.Contains(dump, "127.0.0.1:9901") {
				t.Errorf("the address is not shown: %s", dump)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: got %v, want %q without the token", tt.text, err, tt.problem)
		}
	}
}
