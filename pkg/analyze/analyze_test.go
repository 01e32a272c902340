package analyze_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

var (
	topics  = event.NewTopics("")
	start   = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	project = experiment.Project{Key: "p", Timezone: "Europe/Berlin"}
)

func checkout() *experiment.Experiment {
	return &experiment.Experiment{
		Project: "p", Key: "checkout", Version: 1, State: experiment.Running, Start: start,
		Variants: []experiment.Variant{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}},
		Metrics: []experiment.Metric{
			{Key: "buyers", Kind: experiment.Unique, Event: "buy"},
			{Key: "revenue", Kind: experiment.Sum, Event: "buy"},
			{Key: "path", Kind: experiment.Funnel, Steps: []string{"view", "buy"}},
		},
	}
}

// registry gives definitions, as the compacted topic does elsewhere.
type registry []*experiment.Experiment

func (r registry) Projects() []experiment.Project { return []experiment.Project{project} }
func (r registry) Project(key string) (experiment.Project, bool) {
	return project, key == project.Key
}
func (r registry) Experiments(string) []*experiment.Experiment { return r }
func (r registry) Experiment(_, key string) *experiment.Experiment {
	for _, x := range r {
		if x.Key == key {
			return x
		}
	}
	return nil
}

func open(db *warehouse.DB, known ...*experiment.Experiment) *analyze.Analyzer {
	cfg := analyze.Config{Interval: time.Minute, Concurrency: 2, Timeout: time.Minute}
	return analyze.New(cfg, db, topics, func() analyze.Experiments { return registry(known) }, slog.New(slog.DiscardHandler), nil)
}

// journal stores events as the aggregator does: rows first, then the ledger.
type journal struct {
	t    testing.TB
	db   *warehouse.DB
	upto map[event.Kind]int64
}

func (j *journal) store(events ...event.Event) {
	j.t.Helper()
	type line struct {
		Topic     string    `ch:"topic"`
		Partition uint16    `ch:"topic_partition"`
		From      int64     `ch:"from_offset"`
		To        int64     `ch:"to_offset"`
		At        time.Time `ch:"at"`
	}
	if j.upto == nil {
		j.upto = map[event.Kind]int64{}
	}
	for _, kind := range []event.Kind{event.Exposure, event.KPI, event.Match} {
		rows := stitch.NewRows(kind)
		from := j.upto[kind]
		for i := range events {
			if events[i].Kind == kind {
				rows.Append(&events[i], 3, j.upto[kind])
				j.upto[kind]++
			}
		}
		if rows.Len() == 0 {
			continue
		}
		if err := j.db.InsertEvents(j.t.Context(), rows); err != nil {
			j.t.Fatal(err)
		}
		if err := warehouse.InsertRows(j.t.Context(), j.db, "batches", []line{{topics.Of(kind), 3, from, j.upto[kind], time.Now()}}); err != nil {
			j.t.Fatal(err)
		}
	}
}

func exposure(key, visitor, variant string, second int) event.Event {
	e := event.Event{Kind: event.Exposure, Project: "p", Experiment: key, Variant: variant, VisitorID: visitor}
	return at(e, second, key+visitor+variant)
}

func kpi(name, visitor string, second int, micro int64) event.Event {
	return at(event.Event{Kind: event.KPI, Project: "p", Name: name, VisitorID: visitor, ValueMicro: micro}, second, name+visitor)
}

func match(visitor, user string, second int) event.Event {
	return at(event.Event{Kind: event.Match, Project: "p", VisitorID: visitor, UserID: user}, second, visitor+user)
}

func at(e event.Event, second int, id string) event.Event {
	e.Time = start.UnixMicro() + int64(second)*1e6
	e.ReceivedAt = e.Time
	e.ID = event.ClientID("p", e.Kind, fmt.Sprint(id, second))
	return e
}

func refresh(t *testing.T, a *analyze.Analyzer, x *experiment.Experiment) *report.Result {
	t.Helper()
	r, err := a.Refresh(t.Context(), x, project)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A result is kept exactly as long as nothing that touches it was stored.
func TestAResultIsKeptWhileNothingTouchesIt(t *testing.T) {
	db := warehousetest.Open(t)
	j := &journal{t: t, db: db}
	x := checkout()
	a := open(db, x)
	j.store(exposure("checkout", "v", "b", 0), kpi("buy", "v", 5, 1e6), match("other", "u", 1))
	last := refresh(t, a, x)
	if last.Metrics[0].Arms[1].Converters != 1 {
		t.Fatalf("converters %+v", last.Metrics[0].Arms)
	}
	other := *x
	tests := []struct {
		name  string
		do    func()
		fresh bool
	}{
		{"nothing at all", func() {}, false},
		{"an exposure of another experiment", func() { j.store(exposure("another", "v", "b", 1)) }, false},
		{"an event that no metric reads", func() { j.store(kpi("scroll", "v", 1, 0)) }, false},
		{"an exposure of it", func() { j.store(exposure("checkout", "w", "control", 1)) }, true},
		{"the same exposure again", func() { j.store(exposure("checkout", "w", "control", 1)) }, true},
		{"an event that a funnel's step reads", func() { j.store(kpi("view", "v", 1, 0)) }, true},
		{"a match in the project", func() { j.store(match("v", "u", 2)) }, true},
		{"nothing once more", func() {}, false},
		{"another version of the definition", func() { other.Version = 2; x = &other }, true},
		{"another timezone of the project", func() { project.Timezone = "UTC" }, true},
	}
	defer func() { project.Timezone = "Europe/Berlin" }()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.do()
			r := refresh(t, a, x)
			if (r != last) != tt.fresh {
				t.Errorf("computed anew: %v, want %v", r != last, tt.fresh)
			}
			last = r
			if kept, checked := a.Last("p", "checkout"); kept != r || time.Since(checked) > time.Minute {
				t.Errorf("the last result is %p of %s, want %p", kept, checked, r)
			}
		})
	}
}

// Rows that are stored but not yet in the ledger when a result is computed are
// news at the next look at the latest, whether they were counted or not.
func TestWhatTheLedgerDoesNotNameIsStillNews(t *testing.T) {
	db := warehousetest.Open(t)
	x := checkout()
	a := open(db, x)
	rows := stitch.NewRows(event.Exposure)
	e := exposure("checkout", "v", "b", 0)
	rows.Append(&e, 3, 0)
	if err := db.InsertEvents(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	if first := refresh(t, a, x); first == refresh(t, a, x) {
		t.Error("the result was kept though rows beyond the ledger are stored")
	}
}

// The same events in any order, in any blocks, stored once or thrice: the same
// result to the last bit, but for when it was computed.
func TestEqualDataGiveEqualResults(t *testing.T) {
	var events []event.Event
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 400 {
		v := fmt.Sprint("v", i)
		variant := []string{"control", "b"}[i%2]
		events = append(events, exposure("checkout", v, variant, rng.IntN(100)))
		if rng.IntN(2) == 0 {
			events = append(events, kpi("view", v, rng.IntN(300), 0), kpi("buy", v, rng.IntN(300), rng.Int64N(1e9)))
		}
		if rng.IntN(3) == 0 {
			events = append(events, match(v, fmt.Sprint("u", i%300), rng.IntN(300)))
		}
	}
	var want string
	for round := range 3 {
		db := warehousetest.Open(t)
		j := &journal{t: t, db: db}
		for range round + 1 {
			rng.Shuffle(len(events), func(i, k int) { events[i], events[k] = events[k], events[i] })
			cut := rng.IntN(len(events))
			j.store(events[:cut]...)
			j.store(events[cut:]...)
		}
		x := checkout()
		r, err := open(db, x).Compute(t.Context(), x, project)
		if err != nil {
			t.Fatal(err)
		}
		r.ComputedAt, r.Seconds = time.Time{}, 0
		series, err := open(db, x).Series(t.Context(), x, project)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent([]any{r, series}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(got)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Fatalf("round %d:\n%s", round, d)
		}
	}
}

type stored struct {
	Metric   string  `ch:"metric"`
	Variant  string  `ch:"variant"`
	Entities uint64  `ch:"entities"`
	Total    string  `ch:"total"`
	P        float64 `ch:"p"`
}

func results(t *testing.T, db *warehouse.DB) []stored {
	t.Helper()
	rows, err := warehouse.Select[stored](t.Context(), db, "SELECT metric, variant, entities, total, p FROM experiment_results ORDER BY metric, variant", nil)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Dashboards see the newest complete run: one line per metric and variant. Of
// a run that was cut short before its last line they see nothing.
func TestARunIsSeenOnceItIsWhole(t *testing.T) {
	db := warehousetest.Open(t)
	j := &journal{t: t, db: db}
	x := checkout()
	a := open(db, x)
	j.store(exposure("checkout", "v", "b", 0), kpi("buy", "v", 5, 2_500_000))
	refresh(t, a, x)
	j.store(exposure("checkout", "w", "b", 0))
	refresh(t, a, x)
	want := []stored{
		{"buyers", "b", 2, "1", 1}, {"buyers", "control", 0, "0", 1},
		{"path", "b", 2, "0", 1}, {"path", "control", 0, "0", 1},
		{"revenue", "b", 2, "2.5", 1}, {"revenue", "control", 0, "0", 1},
	}
	if d := cmp.Diff(want, results(t, db)); d != "" {
		t.Fatal(d)
	}
	type half struct {
		Project    string `ch:"project"`
		Experiment string `ch:"experiment"`
		Metric     string `ch:"metric"`
		Variant    string `ch:"variant"`
	}
	if err := warehouse.InsertRows(t.Context(), db, "experiment_results_raw", []half{{"p", "checkout", "buyers", "b"}}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, results(t, db)); d != "" {
		t.Errorf("after a run that was cut short:\n%s", d)
	}

	// A new process answers from it at once.
	again := open(db)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- again.Serve(ctx) }()
	for last, _ := again.Last("p", "checkout"); last == nil; last, _ = again.Last("p", "checkout") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if last, _ := again.Last("p", "checkout"); last.Metrics[1].Arms[1].Total != "2.5" {
		t.Errorf("read back %+v", last.Metrics[1].Arms)
	}
}

func TestDraftsAndArchivesArePassedOver(t *testing.T) {
	db := warehousetest.Open(t)
	good, draft, archived := checkout(), checkout(), checkout()
	draft.Key, draft.State, draft.Start = "draft", experiment.Draft, time.Time{}
	archived.Key, archived.State = "archived", experiment.Archived
	a := open(db, draft, archived, good)
	if err := a.RunAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"checkout": true, "draft": false, "archived": false} {
		if last, _ := a.Last("p", key); (last != nil) != want {
			t.Errorf("%s has a result: %v, want %v", key, last != nil, want)
		}
	}
	if _, err := a.Refresh(t.Context(), draft, project); !errors.Is(err, analyze.ErrNotStarted) {
		t.Errorf("a draft gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Series(ctx, good, project); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled request gives %v", err)
	}
}

// One caller that leaves takes nothing from another; when the last leaves, the
// computation ends and leaves nothing behind.
func TestAComputationEndsWithTheLastWhoWaits(t *testing.T) {
	db := warehousetest.Open(t)
	x := checkout()
	a := open(db, x)
	gone, leave := context.WithCancel(t.Context())
	leave()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r, err := a.Refresh(t.Context(), x, project); err != nil || r == nil {
				t.Errorf("who stays gets %v", err)
			}
		})
		wg.Go(func() {
			if _, err := a.Refresh(gone, x, project); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("who left gets %v", err)
			}
		})
	}
	wg.Wait()

	alone := open(db, x)
	if _, err := alone.Refresh(gone, x, project); !errors.Is(err, context.Canceled) {
		t.Errorf("the only one, who left, gets %v", err)
	}
	alone.Wait()
	if last, _ := alone.Last("p", "checkout"); last != nil {
		t.Error("a computation that nobody waited for went on to its end")
	}
}
