package apply_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/apply"
	"github.com/hypostream/hypostream/pkg/experiment"
)

func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestTheExampleLoads(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "experiments.example.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := apply.Read(path, data, env(map[string]string{"WEB_TOKEN": "a-known-secret"}))
	if err != nil {
		t.Fatal(err)
	}
	d := f.Definition
	if len(d.Projects) != 1 || len(d.Tokens) != 1 || len(d.Experiments) != 2 {
		t.Fatalf("%d projects, %d tokens, %d experiments; want 1, 1, 2", len(d.Projects), len(d.Tokens), len(d.Experiments))
	}
	if d.Tokens[0].Project != "shop" || d.Tokens[0].Secret != "a-known-secret" {
		t.Errorf("token: %+v", d.Tokens[0])
	}
	x := d.Experiments[0]
	if x.Project != "shop" || x.State != experiment.Running || time.Duration(x.ConversionWindow) != 14*24*time.Hour || len(x.Metrics) != 3 || len(x.Metrics[1].Steps) != 3 {
		t.Errorf("first experiment: %+v", x)
	}
	if y := d.Experiments[1]; y.Targeting.Condition == "" || len(y.Overrides["b"]) != 2 || y.Variants[2].Key != "c" {
		t.Errorf("second experiment: %+v", y)
	}
}

const good = `projects:
  - key: p
experiments:
  - key: x
    variants:
      - {key: control, weight: 0.5}
      - key: b
        weight: 0.5
  - key: y
    start: 2026-03-02T08:00:00Z
    variants:
      - key: a
        weight: 1
`

// Line and column are counted by hand in the text above.
func TestFaultsAreFoundWhereTheyStand(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"a weight over 1", strings.Replace(good, "        weight: 0.5", "        weight: 1.5", 1), "f.yaml:8:17: experiments[0].variants[1].weight: "},
		{"a weight over 1 in braces", strings.Replace(good, "control, weight: 0.5", "control, weight: 2", 1), "f.yaml:6:32: experiments[0].variants[0].weight: "},
		{"a weight that is a word", strings.Replace(good, "weight: 1\n", "weight: half\n", 1), "f.yaml:13:17: experiments[1].variants[0].weight: "},
		{"a field that nobody knows", strings.Replace(good, "weight: 1\n", "wieght: 1\n", 1), "f.yaml:13:9: experiments[1].variants[0].wieght: unknown field"},
		{"a field that is missing", strings.Replace(good, "- key: y\n    start", "- start", 1), "f.yaml:9:5: experiments[1].key: required"},
		{"a key that stands twice", good + "    key: z\n", `f.yaml:14:5: mapping key "key" already defined`},
		{"a time that is none", strings.Replace(good, "2026-03-02T08", "2026-13-02T08", 1), "f.yaml:10:12: experiments[1].start: "},
		{"a time without a zone", strings.Replace(good, "08:00:00Z", "08:00:00", 1), "f.yaml:10:12: experiments[1].start: "},
		{"an end that is a number", strings.Replace(good, "start: 2026-03-02T08:00:00Z", "end: 20260302", 1), "f.yaml:10:10: experiments[1].end: "},
		{"a condition", strings.Replace(good, "    start: 2026-03-02T08:00:00Z", "    targeting:\n      condition: age >\n      tags: [age]", 1), "f.yaml:11:18: experiments[1].targeting.condition: position 6: "},
		{"a project that is none", strings.Replace(good, "- key: p", "- key: p/q", 1), "f.yaml:2:10: projects[0].key: "},
		{"a token without a secret", good + "tokens:\n  - name: web\n", "f.yaml:15:5: tokens[0].secret_env: required"},
		{"a token whose variable is not set", good + "tokens:\n  - name: web\n    secret_env: NOPE\n", "f.yaml:16:17: tokens[0].secret_env: the environment variable NOPE"},
		{"a secret in the file", good + "tokens:\n  - name: web\n    secret: hush-hush\n", "f.yaml:16:5: tokens[0].secret: unknown field"},
		{"bad indentation", strings.Replace(good, "        weight: 0.5", "     weight: 0.5", 1), "f.yaml:8:"},
		{"a tab", strings.Replace(good, "    start", "\tstart", 1), "f.yaml:10:"},
		{"an empty file", "", "f.yaml: the file is empty"},
		{"only a comment", "# nothing\n", "f.yaml: the file is empty"},
		{"two documents", good + "---\n" + good, "f.yaml: more than one document"},
		{"a file that the YAML library panics on", "experiments:\n  ! 0\n00008:", "f.yaml: the file cannot be read as YAML"},
		{"a list", "- a\n", "f.yaml:1:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apply.Read("f.yaml", []byte(tt.file), env(nil))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v\nwant %s…", err, tt.want)
			}
		})
	}
	if _, err := apply.Read("f.yaml", []byte(good), env(nil)); err != nil {
		t.Errorf("the good file: %v", err)
	}
	both := strings.NewReplacer("        weight: 0.5", "        weight: -1", "weight: 1\n", "weight: 7\n").Replace(good)
	if _, err := apply.Read("f.yaml", []byte(both), env(nil)); err == nil || strings.Count(err.Error(), "weight: ") != 2 {
		t.Errorf("two faults are told as %v", err)
	}
}

func TestClientSendsTheFileAndPlacesComplaints(t *testing.T) {
	f, err := apply.Read("f.yaml", []byte(good+"tokens:\n  - name: web\n    secret_env: T\n"), env(map[string]string{"T": "a-known-secret"}))
	if err != nil {
		t.Fatal(err)
	}
	var status int
	var answer string
	var got *http.Request
	var sent admin.Definition
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer srv.Close()
	c := apply.Client{Server: srv.URL + "/base/", Key: "k"}

	status, answer = 200, `{"dry_run":true,"changes":[{"kind":"project","project":"p","key":"p","action":"unchanged"},{"kind":"experiment","project":"p","key":"x","action":"update","fields":["name","variants"]}]}`
	plan, err := c.Apply(t.Context(), f, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if got.URL.String() != "/base/v1/admin/apply?dry_run=true&force=false" || got.Header.Get("Authorization") != "Bearer k" {
		t.Errorf("asked for %s with %v", got.URL, got.Header)
	}
	if len(sent.Experiments) != 2 || sent.Experiments[1].Variants[0].Weight != 1 || sent.Tokens[0].Secret != "a-known-secret" {
		t.Errorf("sent %+v", sent)
	}
	var out bytes.Buffer
	apply.Write(&out, plan)
	if want := "update experiment p/x (name, variants)\n0 to create, 1 to update, 1 unchanged\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}

	status, answer = 422, `{"error":{"code":"invalid","message":"m","fields":[{"field":"experiments[1].state","detail":"cannot"},{"field":"tokens[0].secret","detail":"is in use"}]}}`
	_, err = c.Apply(t.Context(), f, false, false)
	if want := "f.yaml:9:5: experiments[1].state: cannot\nf.yaml:16:17: tokens[0].secret: is in use"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	for _, tt := range []struct {
		status       int
		answer, want string
	}{
		{401, `{"error":{"code":"unauthorized","message":"the key"}}`, "401 Unauthorized: the key"},
		{502, "<html>", "502 Bad Gateway: <html>"},
		{200, "<html>", "reading the server's answer"},
	} {
		status, answer = tt.status, tt.answer
		if _, err := c.Apply(t.Context(), f, false, false); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d %s: %v", tt.status, tt.answer, err)
		}
	}
	if _, err := (apply.Client{Server: "nonsense"}).Apply(t.Context(), f, true, false); err == nil {
		t.Error("a server that is no URL")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("experiments:\n  - *a\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("experiments: {variants: [{weight: .inf}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 {
			return
		}
		apply.Read("f.yaml", data, env(nil))
	})
}
