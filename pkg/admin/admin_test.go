package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

const key = "a-test-key-0123456789"

type api struct {
	t   *testing.T
	url string
	reg *registry.Registry
}

// newAPI serves the API over a registry on a broker of its own.
func newAPI(t *testing.T) *api {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{brokertest.Start(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	topics := event.NewTopics("")
	cd, err := codec.New(t.Context(), codec.Config{}, topics)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.EnsureTopics(t.Context(), registry.Topic(topics.Registry)); err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(registry.Config{Repair: true}, log, cd, topics.Registry, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; reg.Close() })
	if err := reg.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := admin.New(admin.Config{Key: key}, reg, ":8082")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Register(mux)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return &api{t, srv.URL, reg}
}

type reply struct {
	status int
	etag   string
	text   string
	body   map[string]any
}

// fault is "code" or "code field,field".
func (r reply) fault() string {
	e, ok := r.body["error"].(map[string]any)
	if !ok {
		return ""
	}
	s := e["code"].(string)
	if fields, ok := e["fields"].([]any); ok {
		var names []string
		for _, f := range fields {
			names = append(names, f.(map[string]any)["field"].(string))
		}
		s += " " + strings.Join(names, ",")
	}
	return s
}

func (a *api) do(method, path, body string, headers ...string) reply {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+"/v1/admin"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	r := reply{status: resp.StatusCode, etag: resp.Header.Get("ETag"), text: string(text)}
	if err := json.Unmarshal(text, &r.body); err != nil {
		a.t.Fatalf("%s %s: the answer is no JSON object: %s", method, path, text)
	}
	return r
}

func (a *api) must(status int, method, path, body string, headers ...string) reply {
	a.t.Helper()
	r := a.do(method, path, body, headers...)
	if r.status != status {
		a.t.Fatalf("%s %s: %d, want %d: %s", method, path, r.status, status, r.text)
	}
	return r
}

const halves = `"variants":[{"key":"control","weight":0.5},{"key":"b","weight":0.5}]`

func TestLifeOfAnExperiment(t *testing.T) {
	a := newAPI(t)
	a.must(201, "POST", "/projects", `{"key":"shop","timezone":"Europe/Paris"}`)
	const x = "/projects/shop/experiments/area%2Ftwo"
	r := a.must(201, "POST", "/projects/shop/experiments", `{"key":"area/two",`+halves+`}`)
	if r.body["state"] != "draft" || r.body["id"] != 1.0 || r.etag != `"1"` || r.body["start"] != nil {
		t.Fatalf("created: %s, ETag %s", r.text, r.etag)
	}
	window := func() (start, end time.Time) {
		d := a.reg.Snapshot().Experiment("shop", "area/two")
		return d.Start, d.End
	}
	before := time.Now().Truncate(time.Microsecond)
	a.must(200, "POST", x+"/calibrate", "")
	calibrated, _ := window()
	if calibrated.Before(before) {
		t.Errorf("calibration started at %v, before %v", calibrated, before)
	}
	time.Sleep(time.Millisecond)
	a.must(200, "POST", x+"/start", "")
	started, end := window()
	if !started.After(calibrated) || !end.IsZero() {
		t.Errorf("running from %v to %v; calibration, from %v on, must lie before", started, end, calibrated)
	}
	// A weight is not changed under running users unless one insists.
	moved := `{"key":"area/two","state":"running",` + strings.Replace(halves, "0.5", "0.4", 1) + `}`
	r = a.do("PUT", x, moved, "If-Match", `"3"`)
	if r.status != 409 || r.fault() != "moves_users variants" || !strings.Contains(r.text, "move users") {
		t.Errorf("changing a weight: %d %s", r.status, r.text)
	}
	a.must(200, "PUT", x+"?force=true", moved, "If-Match", `"3"`)
	// What moves nobody is not held up.
	r = a.must(200, "PUT", x, `{"key":"area/two","hypothesis":"h","version":4,`+strings.Replace(halves, "0.5", "0.4", 1)+`}`)
	if r.body["hypothesis"] != "h" || r.body["state"] != "running" || r.etag != `"5"` {
		t.Errorf("a new hypothesis: %s", r.text)
	}
	if s, _ := window(); !s.Equal(started) {
		t.Errorf("the start moved from %v to %v", started, s)
	}
	a.must(200, "POST", x+"/stop", "", "If-Match", `"5"`)
	if _, end = window(); end.Before(started) || end.After(time.Now()) {
		t.Errorf("stopped at %v", end)
	}
	if r := a.do("POST", x+"/start", ""); r.status != 422 || r.fault() != "invalid state" {
		t.Errorf("starting it again: %d %s", r.status, r.text)
	}
	a.must(200, "POST", x+"/archive", "")
	if _, e := window(); !e.Equal(end) {
		t.Errorf("archiving moved the end from %v to %v", end, e)
	}
	for query, n := range map[string]int{"": 0, "?archived=true": 1, "?state=archived": 1, "?state=running": 0} {
		r := a.must(200, "GET", "/projects/shop/experiments"+query, "")
		if got := len(r.body["experiments"].([]any)); got != n {
			t.Errorf("listing with %q: %d, want %d", query, got, n)
		}
	}
}

func TestWhichStepsThereAre(t *testing.T) {
	a := newAPI(t)
	a.must(201, "POST", "/projects", `{"key":"p"}`)
	steps := []string{"draft", "calibrate", "start", "stop", "archive"}
	tests := map[string]string{ // state → steps that are possible
		"draft": "calibrate start archive", "calibration": "start stop draft", "running": "stop", "stopped": "archive", "archived": "",
	}
	for state, possible := range tests {
		for _, step := range steps {
			name := state + "-" + step
			window := ""
			if state == "stopped" || state == "archived" {
				window = `"start":"2026-01-05T00:00:00Z","end":"2026-01-19T00:00:00Z",`
			}
			a.must(201, "POST", "/projects/p/experiments", fmt.Sprintf(`{"key":%q,"state":%q,%s%s}`, name, state, window, halves))
			time.Sleep(time.Microsecond) // a window is not empty
			want := 422
			if strings.Contains(" "+possible+" ", " "+step+" ") {
				want = 200
			}
			if r := a.do("POST", "/projects/p/experiments/"+name+"/"+step, ""); r.status != want {
				t.Errorf("%s from %s: %d, want %d: %s", step, state, r.status, want, r.text)
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	a := newAPI(t)
	a.must(201, "POST", "/projects", `{"key":"p"}`)
	a.must(201, "POST", "/projects/p/experiments", `{"key":"x",`+halves+`}`)
	a.must(200, "PUT", "/projects/p/experiments/x", `{"name":"n",`+halves+`}`, "If-Match", "1")
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		fault                    string
	}{
		{"no key", "GET", "/projects", "", []string{"Authorization", ""}, 401, "unauthorized"},
		{"a wrong key", "GET", "/projects", "", []string{"Authorization", "Bearer " + key + "0"}, 401, "unauthorized"},
		{"no such route", "GET", "/nothing", "", nil, 404, "no_such_route"},
		{"no such project", "GET", "/projects/q", "", nil, 404, "not_found"},
		{"no such experiment", "GET", "/projects/p/experiments/y", "", nil, 404, "not_found"},
		{"an experiment of no project", "POST", "/projects/q/experiments", `{"key":"x",` + halves + `}`, nil, 404, "not_found"},
		{"no JSON", "POST", "/projects", `{"key":`, nil, 400, "bad_body"},
		{"no body", "POST", "/projects", ``, nil, 400, "bad_body"},
		{"a field that nobody knows", "POST", "/projects/p/experiments", `{"key":"y","variants":[{"key":"a","wieght":1}]}`, nil, 400, "bad_body variants[0].wieght"},
		{"a value of another type", "POST", "/projects/p/experiments", `{"key":"y","variants":[{"key":"a","weight":"1"}]}`, nil, 400, "bad_body variants[0].weight"},
		{"a field that stands twice", "POST", "/projects", `{"key":"y","key":"z"}`, nil, 400, "bad_body"},
		{"a body that is too large", "POST", "/projects", `{"key":"` + strings.Repeat("x", 9<<20) + `"}`, nil, 413, "too_large"},
		{"a project that exists", "POST", "/projects", `{"key":"p"}`, nil, 409, "conflict"},
		{"a project with a slash", "POST", "/projects", `{"key":"a/b"}`, nil, 422, "invalid key"},
		{"a timezone that is none", "POST", "/projects", `{"key":"y","timezone":"Mars/Base"}`, nil, 422, "invalid timezone"},
		{"an experiment that exists", "POST", "/projects/p/experiments", `{"key":"x",` + halves + `}`, nil, 409, "conflict"},
		{"several things at once", "POST", "/projects/p/experiments", `{"key":"y","variants":[{"key":"a","weight":2}],"targeting":{"condition":"age >"}}`, nil, 422,
			"invalid variants[0].weight,variants,targeting.condition"},
		{"a condition that SDKs would mangle", "POST", "/projects/p/experiments", `{"key":"y",` + halves + `,"targeting":{"condition":"page == 'x' and age > 1","tags":["age","page"]}}`, nil, 422, "invalid targeting.condition"},
		{"an id that is taken", "POST", "/projects/p/experiments", `{"key":"y","id":1,` + halves + `}`, nil, 409, "conflict"},
		{"another id", "PUT", "/projects/p/experiments/x", `{"id":5,` + halves + `}`, []string{"If-Match", `"2"`}, 422, "invalid id"},
		{"another key", "PUT", "/projects/p/experiments/x", `{"key":"z",` + halves + `}`, []string{"If-Match", `"2"`}, 422, "invalid key"},
		{"no version", "PUT", "/projects/p/experiments/x", `{` + halves + `}`, nil, 428, "version_required"},
		{"an old version in the body", "PUT", "/projects/p/experiments/x", `{"version":1,` + halves + `}`, nil, 409, "conflict"},
		{"an old version in If-Match", "PUT", "/projects/p/experiments/x", `{` + halves + `}`, []string{"If-Match", `"1"`}, 412, "conflict"},
		{"a version that is none", "PUT", "/projects/p/experiments/x", `{` + halves + `}`, []string{"If-Match", "*"}, 400, "bad_version"},
		{"a step from an old version", "POST", "/projects/p/experiments/x/start", "", []string{"If-Match", `"1"`}, 412, "conflict"},
		{"a project's old version", "PUT", "/projects/p", `{"name":"n"}`, []string{"If-Match", `"7"`}, 412, "conflict"},
		{"a stopped experiment without a window", "POST", "/projects/p/experiments", `{"key":"y","state":"stopped",` + halves + `}`, nil, 422, "invalid start"},
		{"a secret that is too short", "POST", "/projects/p/tokens", `{"secret":"short"}`, nil, 422, "invalid secret"},
		{"a token that is not there", "DELETE", "/projects/p/tokens/abc", "", nil, 404, "not_found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			revision := a.reg.Snapshot().Revision()
			r := a.do(tt.method, tt.path, tt.body, tt.headers...)
			if r.status != tt.status || r.fault() != tt.fault {
				t.Errorf("%d %q, want %d %q: %.500s", r.status, r.fault(), tt.status, tt.fault, r.text)
			}
			if strings.Contains(r.text, key) {
				t.Error("the answer shows the key")
			}
			// An id that was asked for in vain leaves no trace either.
			if now := a.reg.Snapshot().Revision(); now != revision {
				t.Errorf("it changed the registry from revision %d to %d", revision, now)
			}
		})
	}
}

func TestTokensShowTheirSecretOnce(t *testing.T) {
	a := newAPI(t)
	a.must(201, "POST", "/projects", `{"key":"p"}`)
	r := a.must(201, "POST", "/projects/p/tokens", `{"name":"web"}`)
	secret, hash := r.body["secret"].(string), r.body["hash"].(string)
	if p, ok := a.reg.Snapshot().Authenticate(secret); !ok || p != "p" {
		t.Errorf("the secret opens %q, %v", p, ok)
	}
	if r := a.must(201, "POST", "/projects/p/tokens", `{"name":"old","secret":"a-known-secret"}`); r.body["secret"] != nil {
		t.Errorf("an imported secret is repeated: %s", r.text)
	}
	r = a.must(200, "GET", "/projects/p/tokens", "")
	if strings.Contains(r.text, secret) || strings.Contains(r.text, "a-known-secret") || len(r.body["tokens"].([]any)) != 2 {
		t.Errorf("the list: %s", r.text)
	}
	a.must(200, "DELETE", "/projects/p/tokens/"+hash, "")
	if _, ok := a.reg.Snapshot().Authenticate(secret); ok {
		t.Error("a revoked token still opens its project")
	}
}

func TestApplyIsAllOrNothingAndThenNothing(t *testing.T) {
	a := newAPI(t)
	good := `{"projects":[{"key":"p"}],"tokens":[{"project":"p","name":"web","secret":"a-known-secret"}],` +
		`"experiments":[{"project":"p","key":"x","state":"running",` + halves + `},{"project":"p","key":"y",` + halves + `}]}`
	actions := func(r reply) string {
		var out []string
		for _, c := range r.body["changes"].([]any) {
			out = append(out, c.(map[string]any)["action"].(string))
		}
		return strings.Join(out, " ")
	}
	if got := actions(a.must(200, "POST", "/apply?dry_run=true", good)); got != "create create create create" {
		t.Errorf("the plan: %s", got)
	}
	if n := a.reg.Snapshot().Revision(); n != 0 {
		t.Fatalf("a dry run changed the registry: revision %d", n)
	}
	bad := strings.Replace(good, `"key":"y",`, `"key":"y","control":"zz",`, 1)
	if r := a.do("POST", "/apply", bad); r.status != 422 || r.fault() != "invalid experiments[1].control" {
		t.Errorf("a bad definition: %d %s", r.status, r.text)
	}
	for _, tt := range []struct{ name, body, fault string }{
		{"no such project", `{"experiments":[{"project":"q","key":"x",` + halves + `}]}`, "invalid experiments[0].project"},
		{"a key twice", strings.Replace(good, `"key":"y"`, `"key":"x"`, 1), "invalid experiments[1].key"},
		{"an id twice", strings.NewReplacer(`"key":"x"`, `"key":"x","id":3`, `"key":"y"`, `"key":"y","id":3`).Replace(good), "invalid experiments[1].id"},
		{"a short secret", strings.Replace(good, "a-known-secret", "short", 1), "invalid tokens[0].secret"},
	} {
		if r := a.do("POST", "/apply", tt.body); r.fault() != tt.fault {
			t.Errorf("%s: %s, want %s", tt.name, r.fault(), tt.fault)
		}
	}
	if n := a.reg.Snapshot().Revision(); n != 0 {
		t.Fatalf("a refused definition changed the registry: revision %d", n)
	}
	a.must(200, "POST", "/apply", good)
	revision := a.reg.Snapshot().Revision()
	x := *a.reg.Snapshot().Experiment("p", "x")
	if x.State != experiment.Running || x.Start.IsZero() {
		t.Errorf("applied: %+v", x)
	}
	if got := actions(a.must(200, "POST", "/apply", good)); got != "unchanged unchanged unchanged unchanged" {
		t.Errorf("the same again: %s", got)
	}
	if n := a.reg.Snapshot().Revision(); n != revision {
		t.Errorf("the same again changed the registry: %d, %d", revision, n)
	}
	moved := strings.Replace(good, `0.5`, `0.3`, 1)
	if r := a.do("POST", "/apply", moved); r.fault() != "invalid experiments[0].variants" || !strings.Contains(r.text, "move users") {
		t.Errorf("another weight: %s", r.text)
	}
	r := a.must(200, "POST", "/apply?force=true", moved)
	if got := actions(r); got != "unchanged unchanged update unchanged" || !strings.Contains(r.text, `"variants"`) {
		t.Errorf("another weight by force: %s", r.text)
	}
	if y := a.reg.Snapshot().Experiment("p", "x"); !y.Start.Equal(x.Start) || y.ID != x.ID {
		t.Errorf("the window or the id moved: %v %d, were %v %d", y.Start, y.ID, x.Start, x.ID)
	}
}

func TestWithoutAKeyOnlyLocalProgramsComeIn(t *testing.T) {
	for _, tt := range []struct {
		cfg  admin.Config
		addr string
		ok   bool
	}{
		{admin.Config{}, "127.0.0.1:8082", false},
		{admin.Config{Open: true}, ":8082", false},
		{admin.Config{Open: true}, "10.0.0.1:8082", false},
		{admin.Config{Open: true}, "127.0.0.1:8082", true},
		{admin.Config{Open: true}, "localhost:8082", true},
		{admin.Config{Open: true}, "[::1]:8082", true},
		{admin.Config{Key: "short"}, "127.0.0.1:8082", false},
		{admin.Config{Key: key}, ":8082", true},
	} {
		if _, err := admin.New(tt.cfg, nil, tt.addr); (err == nil) != tt.ok {
			t.Errorf("%+v on %s: %v", tt.cfg, tt.addr, err)
		}
	}
	reg := newAPI(t).reg
	h, err := admin.New(admin.Config{Open: true}, reg, "127.0.0.1:8082")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Register(mux)
	for _, tt := range []struct {
		name, method, host, origin string
		status                     int
	}{
		{"a local program", "POST", "127.0.0.1:8082", "", 201},
		{"a name that a stranger points at us", "GET", "evil.example:8082", "", 403},
		{"a stranger's page", "POST", "127.0.0.1:8082", "https://evil.example", 403},
	} {
		r := httptest.NewRequest(tt.method, "http://"+tt.host+"/v1/admin/projects", strings.NewReader(`{"key":"p"}`))
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s: %d, want %d: %s", tt.name, w.Code, tt.status, w.Body)
		}
	}
}
