package query_test

import (
	"math/big"
	"slices"
	"sort"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
)

// The oracle counts by the rules of docs/analysis.md in the plainest way: over
// the events one by one, with none of the warehouse's means.

// oneOfEach keeps of an event's copies the one that was received first.
func oneOfEach(events []event.Event) []event.Event {
	first := map[event.ID]event.Event{}
	for _, e := range events {
		if f, ok := first[e.ID]; !ok || e.ReceivedAt < f.ReceivedAt {
			first[e.ID] = e
		}
	}
	var out []event.Event
	for _, e := range first {
		out = append(out, e)
	}
	return out
}

type oracle struct {
	x          *experiment.Experiment
	start, end int64
	people     map[string]*person
	sorts      map[query.Sort]map[string]uint64 // events by sort and detail
}

// person is an entity: what it saw in the window, and all it ever did.
type person struct {
	exposures []event.Event
	kpis      []event.Event
}

func newOracle(x *experiment.Experiment, events []event.Event) *oracle {
	o := &oracle{x: x, people: map[string]*person{}, sorts: map[query.Sort]map[string]uint64{}}
	o.start, o.end = x.Window()
	events = oneOfEach(events)
	owner := map[string]event.Event{}
	for _, e := range events {
		if e.Kind != event.Match {
			continue
		}
		w, ok := owner[e.VisitorID]
		if !ok || e.Time < w.Time || e.Time == w.Time && e.UserID < w.UserID {
			owner[e.VisitorID] = e
		}
	}
	who := func(e event.Event) *person {
		id := "visitor " + e.VisitorID
		if e.UserID != "" {
			id = "user " + e.UserID
		} else if w, ok := owner[e.VisitorID]; ok {
			id = "user " + w.UserID
		}
		if o.people[id] == nil {
			o.people[id] = &person{}
		}
		return o.people[id]
	}
	for _, e := range events {
		if e.Kind == event.KPI && (e.UserID != "" || e.VisitorID != "") {
			p := who(e)
			p.kpis = append(p.kpis, e)
		}
		if e.Kind != event.Exposure || e.Experiment != x.Key || e.Time < o.start || e.Time >= o.end {
			continue
		}
		known := slices.ContainsFunc(x.Arms(), func(v experiment.Variant) bool { return v.Key == e.Variant })
		switch {
		case e.UserID == "" && e.VisitorID == "":
			o.tally(query.NoIDs, e.SDKError)
		case e.Flags&event.Fallback != 0:
			o.tally(query.Fallback, e.SDKError)
		case e.OverrideReason != "":
			o.tally(query.Overridden, e.OverrideReason)
		case !known:
			o.tally(query.UnknownVariant, e.Variant)
		default:
			p := who(e)
			p.exposures = append(p.exposures, e)
		}
	}
	return o
}

func (o *oracle) tally(s query.Sort, detail string) {
	if o.sorts[s] == nil {
		o.sorts[s] = map[string]uint64{}
	}
	o.sorts[s][detail]++
}

// first is a person's first exposure: its time, its variant's place, and
// whether another variant was seen as well. Of two variants in one microsecond
// the one declared first is first.
func (o *oracle) first(p *person) (t int64, variant int, switched, ok bool) {
	arms := o.x.Arms()
	for _, e := range p.exposures {
		v := slices.IndexFunc(arms, func(a experiment.Variant) bool { return a.Key == e.Variant })
		if !ok || e.Time < t || e.Time == t && v < variant {
			t, variant, ok = e.Time, v, true
		}
		switched = switched || e.Variant != p.exposures[0].Variant
	}
	return t, variant, switched, ok
}

// counted are a person's events of a metric, oldest first.
func (o *oracle) counted(p *person, m experiment.Metric, t0 int64) []event.Event {
	var out []event.Event
	for _, e := range p.kpis {
		w := o.x.MetricWindow(m).Microseconds()
		if e.Time >= t0 && e.Time < o.end && (w == 0 || e.Time < t0+w) && slices.Contains(m.Events(), e.Name) {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Time < out[j].Time })
	return out
}

// reached tries every way through the funnel and gives the earliest time at
// which each step can be reached. Steps follow each other in time, ties in the
// steps' order; one name at two steps wants two different times.
func reached(steps []string, events []event.Event) []int64 {
	var best []int64
	var walk func(taken []event.Event)
	walk = func(taken []event.Event) {
		n := len(taken)
		if n > 0 {
			t := taken[n-1].Time
			if len(best) < n {
				best = append(best, t)
			}
			best[n-1] = min(best[n-1], t)
		}
		if n == len(steps) {
			return
		}
		for _, e := range events {
			if e.Name != steps[n] || n > 0 && e.Time < taken[n-1].Time {
				continue
			}
			if slices.ContainsFunc(taken, func(b event.Event) bool { return b.Name == e.Name && b.Time >= e.Time }) {
				continue
			}
			walk(append(taken[:n:n], e))
		}
	}
	walk(nil)
	return best
}

func square(n *big.Int) *big.Int { return new(big.Int).Mul(n, n) }

func (o *oracle) totals() query.Result {
	var out query.Result
	delays := make([][][][]int64, len(o.x.Arms())) // by arm, metric, step
	for i, v := range o.x.Arms() {
		a := query.Arm{Variant: v.Key}
		delays[i] = make([][][]int64, len(o.x.Metrics))
		for k, m := range o.x.Metrics {
			if m.Kind == experiment.Funnel {
				a.Metrics = append(a.Metrics, query.Metric{Steps: make([]query.Step, len(m.Steps))})
				delays[i][k] = make([][]int64, len(m.Steps))
			} else {
				a.Metrics = append(a.Metrics, query.Metric{Events: new(big.Int), EventsSq: new(big.Int), Sum: new(big.Int), SumSq: new(big.Int)})
			}
		}
		out.Arms = append(out.Arms, a)
	}
	for _, p := range o.people {
		t0, v, switched, ok := o.first(p)
		if !ok {
			continue
		}
		a := &out.Arms[v]
		if switched {
			a.Switched++
			if o.x.Switch != experiment.SwitchFirst {
				continue
			}
		}
		a.Entities++
		for k, m := range o.x.Metrics {
			events := o.counted(p, m, t0)
			if m.Kind == experiment.Funnel {
				for i, t := range reached(m.Steps, events) {
					a.Metrics[k].Steps[i].Entities++
					delays[v][k][i] = append(delays[v][k][i], t-t0)
				}
				continue
			}
			sum := new(big.Int)
			for _, e := range events {
				if m.Kind == experiment.Sum || m.Kind == experiment.Mean {
					sum.Add(sum, big.NewInt(e.ValueMicro))
				}
			}
			n := big.NewInt(int64(len(events)))
			t := &a.Metrics[k]
			t.Events.Add(t.Events, n)
			t.EventsSq.Add(t.EventsSq, square(n))
			t.Sum.Add(t.Sum, sum)
			t.SumSq.Add(t.SumSq, square(sum))
			if len(events) > 0 {
				t.Converters++
			}
		}
	}
	for i := range delays {
		for k := range delays[i] {
			for j, d := range delays[i][k] {
				if len(d) > 0 {
					slices.Sort(d)
					out.Arms[i].Metrics[k].Steps[j].Median = d[(len(d)-1)/2]
				}
			}
		}
	}
	return out
}

// series is worked out from each day's beginning to end, every day afresh.
func (o *oracle) series(loc *time.Location) query.DaySeries {
	out := query.DaySeries{Exposed: map[string][]query.Day{}, Metrics: make([]map[string][]query.Day, len(o.x.Metrics))}
	date := func(us int64) string { return time.UnixMicro(us).In(loc).Format(time.DateOnly) }
	for k := range out.Metrics {
		out.Metrics[k] = map[string][]query.Day{}
	}
	for v, arm := range o.x.Arms() {
		exposed := map[string]uint64{}
		var mine []*person
		for _, p := range o.people {
			t0, first, switched, ok := o.first(p)
			if ok && first == v && (!switched || o.x.Switch == experiment.SwitchFirst) {
				exposed[date(t0)]++
				mine = append(mine, p)
			}
		}
		for _, d := range sortedKeys(exposed) {
			out.Exposed[arm.Key] = append(out.Exposed[arm.Key], query.Day{Date: d, Events: exposed[d]})
		}
		for k, m := range o.x.Metrics {
			if m.Kind == experiment.Funnel {
				continue
			}
			dates := map[string]bool{}
			for _, p := range mine {
				t0, _, _, _ := o.first(p)
				for _, e := range o.counted(p, m, t0) {
					dates[date(e.Time)] = true
				}
			}
			before := new(big.Int)
			for _, d := range sortedKeys(dates) {
				day := query.Day{Date: d, Sum: new(big.Int)}
				upTo := new(big.Int) // Σ over people of (what they came to so far)²
				for _, p := range mine {
					t0, _, _, _ := o.first(p)
					so, today, earlier := new(big.Int), uint64(0), false
					for _, e := range o.counted(p, m, t0) {
						y := big.NewInt(1)
						if m.Kind == experiment.Sum || m.Kind == experiment.Mean {
							y = big.NewInt(e.ValueMicro)
						}
						switch at := date(e.Time); {
						case at == d:
							day.Sum.Add(day.Sum, y)
							today++
						case at < d:
							earlier = true
						default:
							continue
						}
						so.Add(so, y)
					}
					day.Events += today
					if today > 0 {
						day.Converters++
						if !earlier {
							day.New++
						}
					}
					upTo.Add(upTo, square(so))
				}
				day.SumSqStep = new(big.Int).Sub(upTo, before)
				before = upTo
				out.Metrics[k][arm.Key] = append(out.Metrics[k][arm.Key], day)
			}
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
