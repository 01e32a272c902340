package experiment_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/experiment"
)

const day = experiment.Duration(24 * time.Hour)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want experiment.Duration
	}{
		{"", 0}, {"0", 0}, {"0s", 0}, {"0d", 0},
		{"14d", 14 * day}, {"1d12h", day + day/2}, {"72h", 3 * day}, {"90s", experiment.Duration(90 * time.Second)},
		{"36500d", 36500 * day}, {"1.5h", experiment.Duration(90 * time.Minute)},
	}
	for _, tt := range tests {
		if got, err := experiment.ParseDuration(tt.text); err != nil || got != tt.want {
			t.Errorf("%q is %d (%v), want %d", tt.text, got, err, tt.want)
		}
	}
	// 36500 days and 2562047 hours are more nanoseconds than 64 bits hold.
	for _, text := range []string{"d", "14", "-1d", "-1h", "1d-1h", "1d1d", "two days", "36501d", "1.5d", "36500d2562047h"} {
		if got, err := experiment.ParseDuration(text); err == nil {
			t.Errorf("%q is accepted as %s", text, got)
		}
	}
}

func TestDurationsComeBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := experiment.Duration(rapid.Int64Range(0, int64(36500*day)).Draw(t, "duration"))
		if rapid.Bool().Draw(t, "whole days") {
			want -= want % day
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got experiment.Duration
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%s gives %d (%v), want %d", b, got, err, want)
		}
	})
	if s := (14 * day).String(); s != "14d" {
		t.Errorf("14 days are written %q", s)
	}
}

func good() experiment.Experiment {
	return experiment.Experiment{
		Project: "p", Key: "landing/headline", State: experiment.Running, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Variants: []experiment.Variant{{Key: "control", Weight: .5}, {Key: "b", Weight: .5}},
		Metrics: []experiment.Metric{
			{Key: "bought", Kind: experiment.Funnel, Steps: []string{"view", "buy"}},
			{Key: "revenue", Kind: experiment.Mean, Event: "buy", Window: day},
		},
		ConversionWindow: 14 * day,
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	type x = experiment.Experiment
	variants := func(weights ...float64) (out []experiment.Variant) {
		for i, w := range weights {
			out = append(out, experiment.Variant{Key: fmt.Sprint("v", i), Weight: w})
		}
		return out
	}
	tests := []struct {
		name   string
		change func(*x)
		fields []string // where the faults are, in order; none: accepted
	}{
		{"a whole definition", func(*x) {}, nil},
		{"a draft without a start", func(e *x) { e.State, e.Start = experiment.Draft, time.Time{} }, nil},
		{"running without a start", func(e *x) { e.Start = time.Time{} }, []string{"start"}},
		{"stopped without a start", func(e *x) { e.State, e.Start = experiment.Stopped, time.Time{} }, []string{"start"}},
		{"an end at the start: an empty window", func(e *x) { e.End = e.Start }, []string{"end"}},
		{"an end after it", func(e *x) { e.End = e.Start.Add(time.Microsecond) }, nil},
		{"no key and no project", func(e *x) { e.Key, e.Project = "", "" }, []string{"project", "key"}},
		{"a key too long", func(e *x) { e.Key = strings.Repeat("k", 513) }, []string{"key"}},
		{"a hypothesis that is not UTF-8", func(e *x) { e.Hypothesis = "\xff" }, []string{"hypothesis"}},
		{"an id out of range", func(e *x) { e.ID = math.MaxInt32 + 1 }, []string{"id"}},
		{"a negative id", func(e *x) { e.ID = -1 }, []string{"id"}},
		{"a state nobody knows", func(e *x) { e.State = "paused" }, []string{"state"}},
		{"no state", func(e *x) { e.State = "" }, []string{"state"}},
		{"rules nobody knows", func(e *x) { e.Switch, e.Attribution = "both", "guess" }, []string{"switch", "attribution"}},
		{"a negative window", func(e *x) { e.ConversionWindow = -1 }, []string{"conversion_window"}},
		{"no variants", func(e *x) { e.Variants = nil }, []string{"variants"}},
		{"a variant without a key", func(e *x) { e.Variants[1].Key = "" }, []string{"variants[1].key"}},
		{"a variant twice", func(e *x) { e.Variants[1].Key = "control" }, []string{"variants[1].key"}},
		{"a weight below zero", func(e *x) { e.Variants[0].Weight = -.1 }, []string{"variants[0].weight"}},
		{"a weight that is no number", func(e *x) { e.Variants[1].Weight = math.NaN() }, []string{"variants[1].weight"}},
		{"weights over one", func(e *x) { e.Variants = variants(.6, .6) }, []string{"variants"}},
		{"weights under one", func(e *x) { e.Variants = variants(.1, .1) }, nil},
		{"thirds", func(e *x) { e.Variants = variants(.3333333334, .3333333333, .3333333333) }, nil},
		{"a control that is no variant", func(e *x) { e.Control = "c" }, []string{"control"}},
		{"an override that is no variant", func(e *x) { e.Overrides = map[string][]string{"c": {"u"}} }, []string{"overrides"}},
		{"too many overrides", func(e *x) { e.Overrides = map[string][]string{"b": make([]string, 10_001)} }, []string{"overrides"}},
		{"a funnel without steps", func(e *x) { e.Metrics[0].Steps = nil }, []string{"metrics[0].steps"}},
		{"a funnel with sixteen steps", func(e *x) { e.Metrics[0].Steps = strings.Split(strings.Repeat("s ", 15)+"s", " ") }, []string{"metrics[0].steps"}},
		{"a funnel with an empty step and an event", func(e *x) { e.Metrics[0].Steps[1], e.Metrics[0].Event = "", "buy" }, []string{"metrics[0].steps[1]", "metrics[0].event"}},
		{"a mean without an event", func(e *x) { e.Metrics[1].Event = "" }, []string{"metrics[1].event"}},
		{"a mean with steps", func(e *x) { e.Metrics[1].Steps = []string{"a"} }, []string{"metrics[1].steps"}},
		{"a metric twice", func(e *x) { e.Metrics[1].Key = "bought" }, []string{"metrics[1].key"}},
		{"a metric of no kind", func(e *x) { e.Metrics[1].Kind = "median" }, []string{"metrics[1].kind"}},
		{"a metric's direction and window", func(e *x) { e.Metrics[1].Better, e.Metrics[1].Window = "up", -1 }, []string{"metrics[1].better", "metrics[1].window"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := good()
			tt.change(&e)
			if d := cmp.Diff(tt.fields, fields(t, e.Validate())); d != "" {
				t.Error(d)
			}
		})
	}
}

// fields are the fields of the faults that an error joins.
func fields(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var out []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		var f *experiment.FieldError
		if !errors.As(err, &f) || f.Detail == "" {
			t.Fatalf("fault %v is no FieldError", err)
		}
		out = append(out, f.Field)
	}
	return out
}

func TestProjectsAreNamedForAddresses(t *testing.T) {
	tests := []struct {
		name    string
		project experiment.Project
		fields  []string
	}{
		{"a key and a timezone", experiment.Project{Key: "shop_2.eu-west", Timezone: "Europe/Berlin"}, nil},
		{"no key", experiment.Project{}, []string{"key"}},
		{"a slash in the key", experiment.Project{Key: "a/b"}, []string{"key"}},
		{"a dot in front", experiment.Project{Key: "..", Timezone: "UTC"}, []string{"key"}},
		{"a key too long", experiment.Project{Key: strings.Repeat("k", 65)}, []string{"key"}},
		{"a timezone nobody knows", experiment.Project{Key: "p", Timezone: "Mars/Olympus"}, []string{"timezone"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.fields, fields(t, tt.project.Validate())); d != "" {
				t.Error(d)
			}
		})
	}
	if loc := (experiment.Project{Timezone: "Mars/Olympus"}).Location(); loc != time.UTC {
		t.Errorf("an unknown timezone is read as %s", loc)
	}
}

func TestTheArmsOfACalibrationAreTwoHalves(t *testing.T) {
	e := good()
	e.Variants = []experiment.Variant{{Key: "old", Weight: .2}, {Key: "new", Weight: .8}}
	e.Control = "new"
	if d := cmp.Diff(e.Variants, e.Arms()); d != "" || e.ControlArm() != "new" {
		t.Errorf("running: control %q, arms %s", e.ControlArm(), d)
	}
	e.State = experiment.Calibration
	if d := cmp.Diff([]experiment.Variant{{Key: "control", Weight: .5}, {Key: "a", Weight: .5}}, e.Arms()); d != "" || e.ControlArm() != "control" {
		t.Errorf("calibration: control %q, arms %s", e.ControlArm(), d)
	}
}

func TestTheControlArm(t *testing.T) {
	tests := []struct {
		name     string
		control  string
		variants []string
		want     string
	}{
		{"named", "b", []string{"control", "b"}, "b"},
		{"the one called control", "", []string{"a", "control"}, "control"},
		{"else the first", "", []string{"a", "b"}, "a"},
		{"none", "", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := experiment.Experiment{State: experiment.Running, Control: tt.control}
			for _, v := range tt.variants {
				e.Variants = append(e.Variants, experiment.Variant{Key: v})
			}
			if got := e.ControlArm(); got != tt.want {
				t.Errorf("control %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheWindowIsTheDefinitionsOwn(t *testing.T) {
	e := good()
	e.Start = time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC)
	const start = 1_767_225_600_000_001 // 2026-01-01 and a microsecond
	if s, end := e.Window(); s != start || end <= time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() {
		t.Errorf("open: [%d, %d)", s, end)
	}
	e.End = e.Start.Add(time.Second)
	if s, end := e.Window(); s != start || end != start+1_000_000 {
		t.Errorf("closed: [%d, %d)", s, end)
	}
}

func TestAMetricsWindowComesBeforeTheExperiments(t *testing.T) {
	e := good()
	if got := e.MetricWindow(e.Metrics[0]); got != 14*24*time.Hour {
		t.Errorf("without its own: %s", got)
	}
	if got := e.MetricWindow(e.Metrics[1]); got != 24*time.Hour {
		t.Errorf("with its own: %s", got)
	}
}

func TestEventsAreListedOnce(t *testing.T) {
	e := good()
	e.Metrics = append(e.Metrics, experiment.Metric{Kind: experiment.Funnel, Steps: []string{"view", "view", "pay"}})
	if d := cmp.Diff([]string{"view", "buy", "pay"}, e.Events()); d != "" {
		t.Error(d)
	}
}

func TestServedAndActiveFollowTheState(t *testing.T) {
	tests := map[experiment.State][2]bool{
		experiment.Draft: {false, false}, experiment.Calibration: {true, true}, experiment.Running: {true, true},
		experiment.Stopped: {true, false}, experiment.Archived: {true, false},
	}
	for state, want := range tests {
		e := experiment.Experiment{State: state}
		if got := [2]bool{e.Served(), e.Active()}; got != want {
			t.Errorf("%s: served and active %v, want %v", state, got, want)
		}
	}
}

func TestADefinitionComesBackFromJSON(t *testing.T) {
	want := good()
	want.Overrides = map[string][]string{"b": {"u1"}}
	want.Targeting = experiment.Targeting{Condition: "country == 'DE'", Tags: []string{"country"}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got experiment.Experiment
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%s", d, b)
	}
}
