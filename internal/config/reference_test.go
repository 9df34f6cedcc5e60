package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	for _, x := range []struct {
		written, want string
		ref           bool
	}{
		{"", "", false},
		{"plain $ { } $x", "plain $ { } $x", false},
		{"${env:HOST}", "records.example", true},
		{"a${env:PORT}b${env:PORT}c", "a9000b9000c", true},
		{"$${env:HOST}", "${env:HOST}", false},
		{"$$${env:HOST}", "$${env:HOST}", false},
		{"$${a}${env:PORT}$${b}", "${a}9000${b}", true},
		{"${env:NONE:-}", "", true},
		{"${env:NONE:-a:-b}", "a:-b", true},
		{"${env:NONE:-$x}", "$x", true},
		{"${env:EMPTY}", "", true},
		{"${env:EMPTY:-x}", "x", true},
		{"${env:HOST:-x}", "records.example", true},
		{"${file:secret.txt}", "hunter22", true},
		{"${file:folder/two}!", "line 1\nline 2!", true},
	} {
		r := references{lookup: testLookup(), dir: "."}
		got, ref, wrong := r.resolve(x.written)
		if got != x.want || ref != x.ref || len(wrong) > 0 {
			t.Errorf("%q is %q, %v, %v; want %q, %v", x.written, got, ref, wrong, x.want, x.ref)
		}
	}
}

// Values are put in as they are: a reference in a value is text, and so is YAML.
func TestValuesAreNotRead(t *testing.T) {
	lookup := Lookup{Env: func(string) (string, bool) { return `x", admin: "off ${env:Y} $${env:Z}` + "\n- [a]", true }}
	c, err := Parse(testFile, []byte("routes: [{ to: http://a:1, path: \"${env:X}\" }]"), lookup, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Routes[0].Path, `x", admin: "off ${env:Y} $${env:Z}`+"\n- [a]"; got != want || c.Admin.Off {
		t.Errorf("path is %q, want %q", got, want)
	}
}

// A file is read once however often it is named, and what references bring in
// is bounded.
func TestReferenceBounds(t *testing.T) {
	reads := 0
	big := strings.Repeat("x", maxSecretFile)
	lookup := Lookup{
		File: func(path string) ([]byte, error) {
			reads++
			switch path {
			case filepath.Join("conf", "big"), "/big":
				return []byte(big), nil
			case "/larger":
				return []byte(big + "\n"), nil
			}
			return nil, errors.New("odd")
		},
		Env: func(string) (string, bool) { return "a\x00b", true },
	}
	for _, x := range []struct {
		written string
		want    []string
		reads   int
	}{
		{strings.Repeat("${file:big}", 16), nil, 1},
		{strings.Repeat("${file:big}", 17), []string{"references bring in more than 16 MiB"}, 1},
		{"${file:/larger}", []string{`the file "/larger" is larger than 1 MiB`}, 1},
		{"${file:/other}${env:X}", []string{`cannot read the file "/other": odd`, "environment variable X does not hold text (UTF-8)"}, 1},
		{"${file:/other", []string{`"${" is not closed by "}" (write $${ for a plain "${")`}, 0},
	} {
		reads = 0
		r := references{lookup: lookup, dir: "conf"}
		_, _, wrong := r.resolve(x.written)
		var got []string
		for _, err := range wrong {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(x.want, got); diff != "" || reads != x.reads {
			t.Errorf("%.20q: %d reads, want %d; errors (-want +got):\n%s", x.written, reads, x.reads, diff)
		}
	}
}

// The zero Lookup asks the operating system, and is bounded.
func TestSystemLookup(t *testing.T) {
	t.Setenv("AIRSIDE_TEST", "x")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", maxSecretFile+5)), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, ok := (Lookup{}).env("AIRSIDE_TEST"); v != "x" || !ok {
		t.Errorf("env is %q, %v", v, ok)
	}
	b, err := (Lookup{}).file(file)
	if err != nil || len(b) != maxSecretFile+1 {
		t.Errorf("%d bytes read (%v), want %d", len(b), err, maxSecretFile+1)
	}
	if _, err := (Lookup{}).file(t.TempDir()); !errors.Is(err, errNotRegular) {
		t.Errorf("a folder is read: %v", err)
	}
	if _, err := (Lookup{}).file(file + "none"); reason(err) != "it does not exist" {
		t.Errorf("error %v", err)
	}
	if got := reason(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}); got != "permission is denied" {
		t.Errorf("reason %q", got)
	}
	if got := reason(&os.PathError{Op: "open", Path: "x", Err: errors.New("odd")}); got != "odd" {
		t.Errorf("reason %q", got)
	}
}
