package discover

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testForm() form { return form{scheme: "http", parse: parseURL} }

// TestFileForms is the table of what a file may hold, and of what is wrong with it.
func TestFileForms(t *testing.T) {
	many := strings.Repeat("- 10.0.0.1:80\n", MaxEndpoints+1)
	tests := []struct {
		name, text string
		want       []string
		err        string
	}{
		{"URLs", "- http://10.0.0.1:80\n- https://b.example/base\n", []string{"http://10.0.0.1:80", "https://b.example/base"}, ""},
		{"hosts", "- 10.0.0.1:80\n- '[fd00::1]:81'\n", []string{"10.0.0.1:80", "[fd00::1]:81"}, ""},
		{"mappings", "- { url: 'http://a:80', weight: 3, zone: z1 }\n- { url: 'b:80' }\n", []string{"http://a:80 *3 in z1", "b:80"}, ""},
		{"JSON", "[\n\t{\n\t\t\"url\": \"http://a:80\",\n\t\t\"weight\": 2\n\t}\n]\n", []string{"http://a:80 *2"}, ""},
		{
			"file_sd", `[{"targets": ["a:80", "b:81"], "labels": {"__zone__": "z", "weight": "4", "env": "prod", "__meta_x": "y"}}, {"targets": ["c:82"]}]`,
			[]string{"a:80 *4 in z", "b:81 *4 in z", "c:82"},
			"",
		},
		{"none", "[]", []string{}, ""},
		{"empty", "", nil, "the file is empty: write [] for no endpoint"},
		{"only a comment", "# nothing\n", nil, "the file is empty: write [] for no endpoint"},
		{"null", "null\n", nil, "line 1: expected a list of endpoints"},
		{"mapping", "url: http://a\n", nil, "line 1: expected a list of endpoints"},
		{"no URL", "- http://a:80\n- agent\n", nil, "line 2: expected a URL, or a host with a port"},
		{"host with a path", "- agent:80/x\n", nil, "line 1: expected a URL, or a host with a port"},
		{"bad URL", "- http://a:80\n- 'ftp://a b'\n", nil, "line 2: the address cannot be read"},
		{"nothing", "-\n", nil, "line 1: expected a URL, or a host with a port"},
		{"list", "- [a]\n", nil, "line 1: expected a URL, {url: ...} or {targets: [...]}"},
		{"unknown key", "- url: http://a:80\n  wieght: 2\n", nil, `line 2: unknown key "wieght" (url, weight and zone are known)`},
		{"no url", "- weight: 2\n", nil, "line 1: the url is missing"},
		{"weight", "- { url: http://a:80, weight: 0 }\n", nil, "line 1: the weight must be 1 to 256"},
		{"weight too large", "- { url: http://a:80, weight: 257 }\n", nil, "line 1: the weight must be 1 to 256"},
		{"zone", "- { url: http://a:80, zone: 'a b' }\n", nil, "line 1: a zone has up to 63 letters, digits, dots, hyphens and underscores"},
		{"list of urls", "- { url: [a] }\n", nil, `line 1: "url" must be a single value`},
		{"targets", "- targets: a:80\n", nil, "line 1: targets must be a list"},
		{"target", "- targets: [{}]\n", nil, "line 1: a target must be a host with a port"},
		{"labels", "- { targets: [], labels: [] }\n", nil, "line 1: labels must be a mapping"},
		{"label", "- { targets: [], labels: { zone: [] } }\n", nil, `line 1: the label "zone" must be a single value`},
		{"scheme", "- targets: [a:80]\n  labels: { __scheme__: https }\n", nil, "line 2: the label __scheme__ is not heeded here: write the scheme in the url of the upstream"},
		{"group", "- targets: [a:80]\n  source: x\n", nil, `line 2: unknown key "source" (targets and labels are known)`},
		{"too many", many, nil, "line 257: a list holds at most 256 endpoints"},
		{"two documents", "[]\n---\n[]\n", nil, "line 2: a second document begins here"},
		{"alias", "- &a a:80\n- *a\n", nil, "line 2: expected a URL, {url: ...} or {targets: [...]}"},
		{"deep", strings.Repeat("[", 100), nil, "mappings and lists stand in each other too deep"},
		{"half", `[{"targets": ["a:80"`, nil, "did not find expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := testForm()
			f.parse = func(s string) (*url.URL, error) {
				u, err := url.Parse(s)
				if err != nil {
					return nil, errCannotRead
				}
				return u, nil
			}
			got, err := parseFile([]byte(tt.text), f)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, shown(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type readError struct{}

func (readError) Error() string { return "cannot be read" }

var errCannotRead = readError{}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestFile proves that a file is followed when it is written, replaced, and wrong; and
// that what is wrong is told with its line and leaves what was there.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agents.yaml")
	sink := newTold()
	running(t, File(path, "http", parseURL), sink)
	if got := sink.failure(t); !strings.Contains(got, "no such file") {
		t.Errorf("without the file: %s", got)
	}
	writeFile(t, path, "- a:80\n")
	sink.until(t, "a:80")
	writeFile(t, path+".new", "- a:80\n- b:80\n")
	rename(t, path+".new", path)
	sink.until(t, "a:80", "b:80")
	writeFile(t, path, "- a:80\n- wrong\n")
	if got, want := sink.failure(t), path+": line 2: expected a URL, or a host with a port"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(sink.sets); n > 0 {
		t.Errorf("%d sets were told of a bad file", n)
	}
	writeFile(t, path, "- c:80\n")
	sink.until(t, "c:80")
	writeFile(t, path, "# "+strings.Repeat("x", maxSmallFile))
	if got := sink.failure(t); !strings.Contains(got, "larger than") {
		t.Errorf("got %q", got)
	}
}

// TestConfigMap proves that a file is followed that is reached as Kubernetes mounts a
// ConfigMap: by a link to a link to a folder, the second of which is swapped.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, ".."+v), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, ".."+v, "agents"), "- v"+v+":80\n")
	}
	link("..1", "..data")
	link("..data/agents", "agents")
	sink := newTold()
	running(t, File(filepath.Join(dir, "agents"), "http", parseURL), sink)
	sink.until(t, "v1:80")
	link("..2", "..data_tmp")
	rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	sink.until(t, "v2:80")
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{
		"- http://a:80/x\n- { url: 'b:80', weight: 2, zone: z }\n", `[{"targets":["a:80"],"labels":{"__zone__":"z"}}]`, "- &a [*a]", "[]", "a: b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parseFile([]byte(text), testForm())
		if err != nil && set != nil {
			t.Error("a file that is refused has endpoints")
		}
		if len(set) > MaxEndpoints {
			t.Errorf("%d endpoints", len(set))
		}
		for _, e := range set {
			if e.Weight < 1 || e.Weight > MaxWeight || !zoneName(e.Zone) {
				t.Errorf("got %+v", e)
			}
		}
	})
}
