package query_test

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

var exactly = cmp.Comparer(func(a, b *big.Int) bool {
	return a == b || a != nil && b != nil && a.Cmp(b) == 0
})

const day = int64(24 * time.Hour / time.Microsecond)

var projects atomic.Int64

// insert stores events in the order given, cut into blocks at the places given.
func insert(t interface{ Fatal(...any) }, db *warehouse.DB, events []event.Event, cuts ...int) {
	for i := 0; i <= len(cuts); i++ {
		from, to := 0, len(events)
		if i > 0 {
			from = cuts[i-1]
		}
		if i < len(cuts) {
			to = cuts[i]
		}
		for _, kind := range []event.Kind{event.Exposure, event.KPI, event.Match} {
			rows := stitch.NewRows(kind)
			for at := from; at < to; at++ {
				if events[at].Kind == kind {
					rows.Append(&events[at], 0, int64(at))
				}
			}
			if err := db.InsertEvents(context.Background(), rows); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func totals(t fataler, db *warehouse.DB, x *experiment.Experiment) query.Result {
	t.Helper()
	start, end := x.Window()
	q := query.Totals(x, start, end)
	rows, err := warehouse.Select[query.Row](context.Background(), db, q.SQL, q.Params)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query.ReadTotals(x, rows)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func series(t fataler, db *warehouse.DB, x *experiment.Experiment, tz string) (query.DaySeries, bool) {
	t.Helper()
	start, end := x.Window()
	q, ok := query.Series(x, start, end, tz)
	if !ok {
		return query.DaySeries{}, false
	}
	rows, err := warehouse.Select[query.SeriesRow](context.Background(), db, q.SQL, q.Params)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query.ReadSeries(x, rows)
	if err != nil {
		t.Fatal(err)
	}
	return got, true
}

// Names that would break text into which they were pasted.
var kpiNames = []string{"view", "it's", `back\slash "and" quote`, "täb\tand\nline", "{names:Array(String)}"}

// drawExperiment makes an experiment of any shape that a definition allows.
func drawExperiment(t *rapid.T, project string, start time.Time) *experiment.Experiment {
	x := &experiment.Experiment{
		Project: project, Key: rapid.SampledFrom([]string{"exp", `it's \ one`}).Draw(t, "key"), State: experiment.Running, Start: start,
		Variants:         []experiment.Variant{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}, {Key: "o'c", Weight: 0}},
		Switch:           rapid.SampledFrom([]experiment.SwitchRule{"", experiment.SwitchFirst}).Draw(t, "switch"),
		ConversionWindow: drawWindow(t),
	}
	if rapid.Bool().Draw(t, "has an end") {
		x.End = start.Add(time.Duration(rapid.SampledFrom([]int64{1, 5, day, 3 * day}).Draw(t, "length")) * time.Microsecond)
	}
	names := rapid.SampledFrom(kpiNames)
	for i := range rapid.IntRange(0, 4).Draw(t, "metrics") {
		m := experiment.Metric{
			Key:    fmt.Sprint("m", i),
			Kind:   rapid.SampledFrom([]experiment.MetricKind{experiment.Funnel, experiment.Funnel, experiment.Count, experiment.Sum, experiment.Mean, experiment.Unique}).Draw(t, "kind"),
			Window: drawWindow(t),
		}
		if m.Kind == experiment.Funnel {
			m.Steps = rapid.SliceOfN(names, 1, 4).Draw(t, "steps")
		} else {
			m.Event = names.Draw(t, "event")
		}
		x.Metrics = append(x.Metrics, m)
	}
	return x
}

func drawWindow(t *rapid.T) experiment.Duration {
	return experiment.Duration(rapid.SampledFrom([]int64{0, 0, 1, 3, day / 2, day}).Draw(t, "window") * 1000)
}

// drawEvents makes events close to every edge there is, and copies of them.
func drawEvents(t *rapid.T, x *experiment.Experiment, loc *time.Location) []event.Event {
	start := x.Start.UnixMicro()
	edges := []int64{-day, -1, 0, 0, 1, 2, 3, 4, 5, day/2 - 1, day / 2, day - 1, day, day + 1, 3*day - 1, 3 * day}
	for d := range 4 { // local midnights
		y, m, n := x.Start.In(loc).Date()
		midnight := time.Date(y, m, n+d+1, 0, 0, 0, 0, loc).UnixMicro() - start
		edges = append(edges, midnight-1, midnight)
	}
	offset := rapid.SampledFrom(edges)
	few := func(ids ...string) *rapid.Generator[string] { return rapid.SampledFrom(ids) }
	var out []event.Event
	for i := range rapid.IntRange(0, 40).Draw(t, "events") {
		e := event.Event{
			Kind:    rapid.SampledFrom([]event.Kind{event.Exposure, event.Exposure, event.KPI, event.KPI, event.KPI, event.Match}).Draw(t, "kind"),
			Project: x.Project, Time: start + offset.Draw(t, "time"),
			VisitorID: few("", "a", "b", "c", "same").Draw(t, "visitor"), UserID: few("", "", "", "u", "w", "same").Draw(t, "user"),
		}
		e.ID = event.ClientID(x.Project, e.Kind, fmt.Sprint(i))
		e.ReceivedAt = e.Time + rapid.SampledFrom([]int64{-day, 0, 1, day}).Draw(t, "delay")
		if rapid.IntRange(0, 5).Draw(t, "client's time is absurd") == 0 {
			e.ReceivedAt, e.Flags = e.Time, rapid.SampledFrom([]event.Flags{event.TimeReplaced, event.TimeMissing}).Draw(t, "flag")
		}
		switch e.Kind {
		case event.Exposure:
			e.Experiment = rapid.SampledFrom([]string{x.Key, x.Key, x.Key, "another"}).Draw(t, "experiment")
			e.Variant = few("control", "control", "control", "b", "b", "b", "o'c", "gone").Draw(t, "variant")
			switch rapid.IntRange(0, 12).Draw(t, "fault") {
			case 0:
				e.Flags |= event.Fallback
				e.SDKError = few("no settings", "it's off").Draw(t, "error")
			case 1:
				e.OverrideReason = "qa"
			case 2:
				e.SDKError = "harmless" // no fallback: a draw like any other
			}
		case event.KPI:
			e.Name = rapid.SampledFrom(append(kpiNames, "unread")).Draw(t, "name")
			e.ValueMicro = rapid.SampledFrom([]int64{0, 1, -1, 1_000_000, math.MaxInt64, -math.MaxInt64}).Draw(t, "value")
		case event.Match:
			e.VisitorID, e.UserID = few("a", "b", "c", "same").Draw(t, "visitor"), few("u", "w", "same").Draw(t, "user")
		}
		out = append(out, e)
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "copies") {
			c := e
			c.ReceivedAt += rapid.Int64Range(0, day/2).Draw(t, "later")
			if e.Flags&(event.TimeReplaced|event.TimeMissing) != 0 {
				c.Time = c.ReceivedAt
			}
			out = append(out, c)
		}
	}
	return out
}

// Whatever the experiment, the events, their order, and how often and in what
// blocks they were stored: what the warehouse answers is what one counts by
// hand. Days are those of the project's calendar, over changes of the clock.
func TestTheWarehouseCountsAsOneWouldByHand(t *testing.T) {
	db := warehousetest.Open(t)
	places := []struct {
		tz    string
		start time.Time
	}{
		{"UTC", time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)},
		{"Europe/Berlin", time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)},        // 23 hours on the 29th
		{"Europe/Berlin", time.Date(2026, 10, 24, 21, 59, 59, 0, time.UTC)},     // 25 hours on the 25th
		{"America/New_York", time.Date(2026, 3, 7, 17, 0, 0, 123000, time.UTC)}, // 23 hours on the 8th
		{"America/New_York", time.Date(2026, 10, 31, 17, 0, 0, 0, time.UTC)},    // 25 hours on November 1st
		{"Asia/Kathmandu", time.Date(2025, 12, 31, 12, 0, 0, 0, time.UTC)},      // +05:45, over a year's end
	}
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.SampledFrom(places).Draw(t, "place")
		loc, err := time.LoadLocation(place.tz)
		if err != nil {
			t.Fatal(err)
		}
		x := drawExperiment(t, fmt.Sprint("p", projects.Add(1)), place.start)
		events := drawEvents(t, x, loc)
		rng := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "order")))
		rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		insert(t, db, events, rapid.IntRange(0, len(events)).Draw(t, "cut"))

		o := newOracle(x, events)
		got := totals(t, db, x)
		sorts := map[query.Sort]map[string]uint64{}
		for _, e := range got.Exposures {
			if e.Sort == query.Analysed {
				continue
			}
			if sorts[e.Sort] == nil {
				sorts[e.Sort] = map[string]uint64{}
			}
			sorts[e.Sort][e.Detail] = e.Events
		}
		if d := cmp.Diff(o.sorts, sorts); d != "" {
			t.Fatalf("exposures set aside (-by hand +warehouse):\n%s", d)
		}
		if d := cmp.Diff(o.totals().Arms, got.Arms, exactly); d != "" {
			t.Fatalf("totals (-by hand +warehouse):\n%s", d)
		}
		if days, ok := series(t, db, x, place.tz); ok {
			if d := cmp.Diff(o.series(loc), days, exactly); d != "" {
				t.Fatalf("series (-by hand +warehouse):\n%s", d)
			}
		}
	})
}

// An exposure whose time was replaced by that of its receipt, received before
// the start and again after it, is one exposure before the start. One that came
// twice inside is one inside, at the earlier time.
func TestARepeatedExposureCountsByItsFirstReceipt(t *testing.T) {
	db := warehousetest.Open(t)
	x := shop(experiment.Metric{Key: "buyers", Kind: experiment.Unique, Event: "buy"})
	x.ConversionWindow = experiment.Duration(time.Minute)
	start := x.Start.UnixMicro()
	exposure := func(id, visitor string, at int64) event.Event {
		return event.Event{
			Kind: event.Exposure, Project: x.Project, Experiment: x.Key, Variant: "secret-b", VisitorID: visitor,
			ID: event.ClientID(x.Project, event.Exposure, id), Time: at, ReceivedAt: at, Flags: event.TimeReplaced,
		}
	}
	buy := func(visitor string, at int64) event.Event {
		return event.Event{Kind: event.KPI, Project: x.Project, Name: "buy", VisitorID: visitor, ID: event.ClientID(x.Project, event.KPI, visitor), Time: at, ReceivedAt: at}
	}
	insert(t, db, []event.Event{
		exposure("1", "early", start+1), exposure("1", "early", start-1), buy("early", start+2),
		exposure("2", "inside", start+5), exposure("2", "inside", start), buy("inside", start+60e6), // a µs after the earlier one's window
		exposure("3", "inside too", start+5), buy("inside too", start+60e6),
	}, 1, 4)
	arm := totals(t, db, x).Arms[1]
	if arm.Entities != 2 || arm.Metrics[0].Converters != 1 {
		t.Errorf("%d entities, %d of them converted; want 2 and 1", arm.Entities, arm.Metrics[0].Converters)
	}
}

// Times are packed into few bits: a start before any event can be, and one
// decades ago, must not run over.
func TestAStartLongAgoOverflowsNothing(t *testing.T) {
	db := warehousetest.Open(t)
	now := time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for _, start := range []time.Time{time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC), time.Date(1985, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)} {
		x := shop(experiment.Metric{Key: "path", Kind: experiment.Funnel, Steps: []string{"view", "buy"}}, experiment.Metric{Key: "sum", Kind: experiment.Sum, Event: "buy"})
		x.Project, x.Start, x.ConversionWindow = start.String(), start, experiment.Duration(36500*24*time.Hour)
		e := func(kind event.Kind, name string, at int64) event.Event {
			return event.Event{Kind: kind, Project: x.Project, Experiment: x.Key, Variant: "secret-b", Name: name, VisitorID: "v", ValueMicro: -5, ID: event.ClientID(x.Project, kind, name), Time: at, ReceivedAt: at}
		}
		insert(t, db, []event.Event{e(event.Exposure, "", now), e(event.KPI, "view", now+10), e(event.KPI, "buy", now+30)})
		arm := totals(t, db, x).Arms[1]
		want := []query.Step{{Entities: 1, Median: 10}, {Entities: 1, Median: 30}}
		if d := cmp.Diff(want, arm.Metrics[0].Steps); d != "" || arm.Metrics[1].Sum.Int64() != -5 {
			t.Errorf("since %s: sum %v, steps %s", start, arm.Metrics[1].Sum, d)
		}
		days, _ := series(t, db, x, "UTC")
		if got := days.Metrics[1]["secret-b"]; len(got) != 1 || got[0].Date != "2055-01-01" {
			t.Errorf("since %s: days %v", start, got)
		}
	}
}
