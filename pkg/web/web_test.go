package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/web"
)

// definitions are those of one project.
type definitions struct{ list []*experiment.Experiment }

func (d definitions) Projects() []experiment.Project { return []experiment.Project{{Key: "shop"}} }
func (d definitions) Project(key string) (experiment.Project, bool) {
	return experiment.Project{Key: key, Timezone: "Europe/Berlin"}, key == "shop"
}
func (d definitions) Experiments(string) []*experiment.Experiment { return d.list }
func (d definitions) Experiment(project, key string) *experiment.Experiment {
	for _, x := range d.list {
		if x.Key == key && project == "shop" {
			return x
		}
	}
	return nil
}

// results counts computations, and fails for experiments named after a fault.
type results struct {
	computed int
	last     map[string]*report.Result
	checked  time.Time
}

var faults = map[string]error{
	"draft": fmt.Errorf("experiment: %w", analyze.ErrNotStarted), "slow": context.DeadlineExceeded, "broken": errors.New("password=hunter2 refused"),
}

func (r *results) Last(_, key string) (*report.Result, time.Time) { return r.last[key], r.checked }
func (r *results) Refresh(_ context.Context, x *experiment.Experiment, _ experiment.Project) (*report.Result, error) {
	if err := faults[x.Key]; err != nil {
		return nil, err
	}
	r.computed++
	r.last[x.Key] = &report.Result{Experiment: x.Key, Version: int64(r.computed)}
	r.checked = time.Now()
	return r.last[x.Key], nil
}
func (r *results) Series(_ context.Context, x *experiment.Experiment, _ experiment.Project) ([]report.Series, error) {
	return []report.Series{{Metric: "buy"}}, faults[x.Key]
}

func serve(t *testing.T, r *results, open bool, keys ...string) *httptest.Server {
	t.Helper()
	var list []*experiment.Experiment
	for _, key := range []string{"check out", "draft", "slow", "broken"} {
		list = append(list, &experiment.Experiment{Project: "shop", Key: key, State: experiment.Running})
	}
	mux := http.NewServeMux()
	web.New(r, func() analyze.Experiments { return definitions{list} }, open, keys...).Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url, authorization string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %v, content type %q", url, err, res.Header.Get("Content-Type"))
	}
	return res.StatusCode, body
}

func TestTheAPIOpensToItsKeysOnly(t *testing.T) {
	tests := []struct {
		name, authorization string
		open                bool
		keys                []string
		want                int
	}{
		{"the key", "Bearer read", false, []string{"admin", "read"}, 200},
		{"the other key, the scheme in lower case", "bearer admin", false, []string{"admin", "read"}, 200},
		{"another key", "Bearer rea", false, []string{"admin", "read"}, 401},
		{"no key", "", false, []string{"read"}, 401},
		{"another scheme", "Basic read", false, []string{"read"}, 401},
		{"an empty key is set, and opens nothing", "Bearer ", false, []string{""}, 401},
		{"no key is set, and none asked for", "", true, nil, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &results{last: map[string]*report.Result{}}, tt.open, tt.keys...)
			for _, path := range []string{"/experiments", "/experiments/check%20out/results", "/experiments/check%20out/series"} {
				if code, body := get(t, s.URL+"/v1/projects/shop"+path, tt.authorization); code != tt.want {
					t.Errorf("%s: %d %v, want %d", path, code, body, tt.want)
				}
			}
		})
	}
}

func TestAnswersAndFaults(t *testing.T) {
	s := serve(t, &results{last: map[string]*report.Result{}}, true)
	tests := []struct {
		name, path string
		want       int
		code       string
	}{
		{"an unknown project", "/v1/projects/none/experiments", 404, "not_found"},
		{"an unknown experiment", "/v1/projects/shop/experiments/none/results", 404, "not_found"},
		{"an experiment of another project", "/v1/projects/none/experiments/draft/results", 404, "not_found"},
		{"one that has not started", "/v1/projects/shop/experiments/draft/results", 409, "not_started"},
		{"its series", "/v1/projects/shop/experiments/draft/series", 409, "not_started"},
		{"one that takes too long", "/v1/projects/shop/experiments/slow/results", 504, "timeout"},
		{"a warehouse that fails", "/v1/projects/shop/experiments/broken/results", 502, "warehouse"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, body := get(t, s.URL+tt.path, "")
			fault, _ := body["error"].(map[string]any)
			if code != tt.want || fault["code"] != tt.code {
				t.Errorf("%d %v, want %d %s", code, body, tt.want, tt.code)
			}
		})
	}
	if _, body := get(t, s.URL+"/v1/projects/shop/experiments/broken/results", ""); fmt.Sprint(body) != fmt.Sprint(map[string]any{"error": map[string]any{
		"code": "warehouse", "message": "the warehouse did not give the result; the log has the reason"}}) {
		t.Errorf("the warehouse's own words go out: %v", body)
	}
}

// The last result is answered at once with its age; it is computed when there
// is none, and when one asks for it.
func TestResultsComeFromTheLastLook(t *testing.T) {
	r := &results{last: map[string]*report.Result{}}
	s := serve(t, r, true)
	url := s.URL + "/v1/projects/shop/experiments/check%20out/results"
	look := func(url string) (version, age float64) {
		code, body := get(t, url, "")
		if code != http.StatusOK {
			t.Fatalf("%d %v", code, body)
		}
		return body["result"].(map[string]any)["definition_version"].(float64), body["age_seconds"].(float64)
	}
	if v, age := look(url); v != 1 || age < 0 || age > 60 {
		t.Errorf("first: result %v of %v s", v, age)
	}
	r.checked = time.Now().Add(-time.Hour)
	if v, age := look(url); v != 1 || age < 3600 || age > 3700 {
		t.Errorf("an hour later: result %v of %v s, want 1 of 3600", v, age)
	}
	if v, age := look(url + "?refresh=true"); v != 2 || age > 60 {
		t.Errorf("refreshed: result %v of %v s", v, age)
	}
	_, body := get(t, s.URL+"/v1/projects/shop/experiments", "")
	if list := body["experiments"].([]any); len(list) != 4 || list[0].(map[string]any)["state"] != "running" {
		t.Errorf("list %v", list)
	}
	_, body = get(t, s.URL+"/v1/projects/shop/experiments/check%20out/series", "")
	if body["timezone"] != "Europe/Berlin" || len(body["series"].([]any)) != 1 {
		t.Errorf("series %v", body)
	}
}
