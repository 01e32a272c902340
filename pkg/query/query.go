// Package query turns an experiment into questions to the warehouse: SQL text
// whose shape follows the metrics, every value a parameter, and the reading of
// the answer. It runs nothing.
//
// What is counted, and why, is told in docs/analysis.md.
package query

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

//go:embed sql
var files embed.FS

var templates = template.Must(template.ParseFS(files, "sql/people.sql", "sql/totals.sql", "sql/series.sql"))

var (
	newsSQL  = text("sql/news.sql")
	marksSQL = text("sql/watermarks.sql")
	lastSQL  = text("sql/last_runs.sql")
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
	Number int    // from 1
	In     []int  // the name's number, from 1
	Window string // parameter, "" for none
	Valued bool   // whether the values count, and not how often it happened alone
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
	Valued  []string // names whose values count
	Bases   []base
	Funnels []funnel

	of      []int // per metric: its place in Bases or Funnels
	windows map[string]any
}

func valued(m experiment.Metric) bool { return m.Kind == experiment.Sum || m.Kind == experiment.Mean }

// forever is a window from which on one need not look for its end, and that
// added to any time still fits where times are kept.
const forever = 50 * 365 * 24 * time.Hour

// layOutTrends is layOut without the funnels, and with sums and counts apart:
// a base gives one series.
func layOutTrends(x *experiment.Experiment) plan {
	trends := *x
	trends.Metrics = nil
	for _, m := range x.Metrics {
		if m.Kind != experiment.Funnel {
			trends.Metrics = append(trends.Metrics, m)
		}
	}
	return layOutBy(&trends, func(b base, m experiment.Metric) bool { return b.Valued == valued(m) })
}

func layOut(x *experiment.Experiment) plan {
	return layOutBy(x, func(base, experiment.Metric) bool { return true })
}

// layOutBy lets metrics that are alike in name and window share a base if they
// may.
func layOutBy(x *experiment.Experiment, may func(base, experiment.Metric) bool) plan {
	p := plan{Names: x.Events(), windows: map[string]any{}}
	number := func(name string) int { return slices.Index(p.Names, name) + 1 }
	window := func(m experiment.Metric) string {
		w := x.MetricWindow(m)
		if w == 0 || w >= forever {
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
		at := slices.IndexFunc(p.Bases, func(o base) bool { return slices.Equal(o.In, b.In) && o.Window == b.Window && may(o, m) })
		if at < 0 {
			at = len(p.Bases)
			b.Number = at + 1
			p.Bases = append(p.Bases, b)
		}
		if valued(m) {
			p.Bases[at].Valued = true
			if !slices.Contains(p.Valued, m.Event) {
				p.Valued = append(p.Valued, m.Event)
			}
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

// Bounds of a window that can be asked about. No event has a time before the
// first; the second is past any, and what ClickHouse can still represent.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// ahead is how far an event's time may be ahead of its receipt at most, µs.
const ahead = int64(24 * time.Hour / time.Microsecond)

// build fills in a template for a plan, and the parameters of all questions
// about an experiment's window.
func build(name string, x *experiment.Experiment, p plan, start, end int64) Query {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		panic(fmt.Sprintf("query: %v", err)) // the template's own fault, seen by any test
	}
	start = max(start, earliest)
	keep := 0
	if x.Switch == experiment.SwitchFirst {
		keep = 1
	}
	q := Query{SQL: b.String(), Params: map[string]any{
		"project": x.Project, "experiment": x.Key, "variants": variants(x),
		"start": start, "end": min(end, latest), "base": start - ahead,
		"keep_first": keep, "fallback": uint8(event.Fallback), "moved": uint8(event.TimeReplaced | event.TimeMissing),
	}}
	if len(p.Names) > 0 {
		q.Params["names"] = p.Names
	}
	if len(p.Valued) > 0 {
		q.Params["valued"] = p.Valued
	}
	for name, w := range p.windows {
		q.Params[name] = w
	}
	return q
}

// Totals asks for everything but series: entities per arm, sums, squares and
// converters per metric, funnel steps with median times, and what was set
// aside, for events inside [start, end), µs.
func Totals(x *experiment.Experiment, start, end int64) Query {
	return build("totals.sql", x, layOut(x), start, end)
}

// Series asks for the daily numbers of every metric that is no funnel, days by
// the calendar of the timezone tz. ok is false when there is none.
func Series(x *experiment.Experiment, start, end int64, tz string) (q Query, ok bool) {
	p := layOutTrends(x)
	if len(p.Names) == 0 {
		return Query{}, false
	}
	q = build("series.sql", x, p, start, end)
	q.Params["tz"] = tz
	return q, true
}
