// Package query turns an experiment into questions to the warehouse: SQL text
// whose shape follows the metrics, every value a parameter, and the reading of
// the answer. It runs nothing.
//
// What is counted, and why, is told in docs/analysis.md.
package query

import (
	"embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/template"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

//go:embed sql
var files embed.FS

var totals = template.Must(template.ParseFS(files, "sql/totals.sql"))

var (
	seriesSQL = text("sql/series.sql")
	newsSQL   = text("sql/news.sql")
	marksSQL  = text("sql/watermarks.sql")
	lastSQL   = text("sql/last_runs.sql")
)

func text(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded: it is there or the build is broken
	}
	return string(b)
}

// Query is SQL with its parameters.
type Query struct {
	SQL    string
	Params map[string]any
}

// LastRuns asks for the newest result of each experiment, as JSON.
func LastRuns() Query { return Query{SQL: lastSQL} }

// base is one event name within one window: what count, sum, mean and unique
// metrics are read from, several of them from one.
type base struct {
	In     []int  // numbers of the names, from 1
	Window string // parameter, "" for none
}

type step struct {
	Step     int // from 1
	Name     int // number of the name, from 1
	Previous int // the step before, 0 for the first
	Same     int // the last earlier step with the same name, 0 if none
}

type funnel struct {
	In     []int
	Window string
	Steps  []step
}

// plan is an experiment's metrics laid out in one query.
type plan struct {
	Names   []string
	Bases   []base
	Funnels []funnel

	of      []int // per metric: its place in Bases or Funnels
	windows map[string]any
}

func layOut(x *experiment.Experiment) plan {
	p := plan{Names: x.Events(), windows: map[string]any{}}
	number := func(name string) int { return slices.Index(p.Names, name) + 1 }
	window := func(m experiment.Metric) string {
		w := x.MetricWindow(m)
		if w == 0 {
			return ""
		}
		for name, v := range p.windows {
			if v == w.Microseconds() {
				return name
			}
		}
		name := fmt.Sprintf("w%d", len(p.windows))
		p.windows[name] = w.Microseconds()
		return name
	}
	for _, m := range x.Metrics {
		if m.Kind == experiment.Funnel {
			f := funnel{Window: window(m)}
			for i, name := range m.Steps {
				s := step{Step: i + 1, Name: number(name), Previous: i}
				for k := range i {
					if m.Steps[k] == name {
						s.Same = k + 1
					}
				}
				if !slices.Contains(f.In, s.Name) {
					f.In = append(f.In, s.Name)
				}
				f.Steps = append(f.Steps, s)
			}
			p.of = append(p.of, len(p.Funnels))
			p.Funnels = append(p.Funnels, f)
			continue
		}
		b := base{In: []int{number(m.Event)}, Window: window(m)}
		at := slices.IndexFunc(p.Bases, func(o base) bool { return slices.Equal(o.In, b.In) && o.Window == b.Window })
		if at < 0 {
			at = len(p.Bases)
			p.Bases = append(p.Bases, b)
		}
		p.of = append(p.of, at)
	}
	return p
}

// variants are the arms' keys; an arm's number in the SQL is its place, from 1.
func variants(x *experiment.Experiment) []string {
	var keys []string
	for _, v := range x.Arms() {
		keys = append(keys, v.Key)
	}
	return keys
}

// params are those that every question about an experiment's window has.
func params(x *experiment.Experiment, start, end int64) map[string]any {
	keep := 0
	if x.Switch == experiment.SwitchFirst {
		keep = 1
	}
	return map[string]any{
		"project": x.Project, "experiment": x.Key, "variants": variants(x), "start": start, "end": end,
		"keep_first": keep, "fallback": uint8(event.Fallback), "moved": uint8(event.TimeReplaced | event.TimeMissing),
	}
}

// Totals asks for everything but series: entities per arm, sums, squares and
// converters per metric, funnel steps with median times, and what was set
// aside, for events inside [start, end), µs.
func Totals(x *experiment.Experiment, start, end int64) Query {
	p := layOut(x)
	var b strings.Builder
	if err := totals.ExecuteTemplate(&b, "totals.sql", p); err != nil {
		panic(fmt.Sprintf("query: %v", err)) // the template's own fault, seen by any test
	}
	q := Query{SQL: b.String(), Params: params(x, start, end)}
	q.Params["names"] = p.Names
	for name, w := range p.windows {
		q.Params[name] = w
	}
	if len(p.Names) == 0 {
		delete(q.Params, "names")
		delete(q.Params, "keep_first")
		delete(q.Params, "moved")
	}
	return q
}

// Series asks for the daily numbers of every metric that is no funnel, days by
// the calendar of the timezone tz. ok is false when there is none.
func Series(x *experiment.Experiment, start, end int64, tz string) (q Query, ok bool) {
	q = Query{SQL: seriesSQL, Params: params(x, start, end)}
	var names []string
	var of [][]string
	var windows []int64
	var valued []int
	for i, m := range x.Metrics {
		w := x.MetricWindow(m).Microseconds()
		if w == 0 {
			w = math.MaxInt64 / 4 // never ends, and adding to it overflows nothing
		}
		windows = append(windows, w)
		v := 0
		if m.Kind == experiment.Sum || m.Kind == experiment.Mean {
			v = 1
		}
		valued = append(valued, v)
		if m.Kind == experiment.Funnel {
			continue
		}
		at := slices.Index(names, m.Event)
		if at < 0 {
			at = len(names)
			names, of = append(names, m.Event), append(of, nil)
		}
		of[at] = append(of[at], fmt.Sprint(i+1))
	}
	if len(names) == 0 {
		return Query{}, false
	}
	var lists []string
	for _, l := range of {
		lists = append(lists, "["+strings.Join(l, ",")+"]")
	}
	q.Params["tz"] = tz
	q.Params["names"] = names
	q.Params["windows"] = windows
	q.Params["valued"] = valued
	q.Params["metrics_of"] = "[" + strings.Join(lists, ",") + "]"
	return q, true
}
