// Package analyze computes experiments from the warehouse: on request and on a
// schedule, keeping the last result where nothing is new.
package analyze

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/stats"
	"github.com/hypostream/hypostream/pkg/telemetry"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// ErrNotStarted is the error for an experiment that has no window yet.
var ErrNotStarted = errors.New("the experiment has not started")

// Config of the analyzer.
type Config struct {
	Interval    time.Duration `env:"ANALYZE_INTERVAL, default=1m" desc:"how often running experiments are looked at again"`
	Concurrency int           `env:"ANALYZE_CONCURRENCY, default=2" desc:"experiments computed at the same time"`
	Timeout     time.Duration `env:"ANALYZE_TIMEOUT, default=5m" desc:"one experiment's computation may take this long"`
}

// Validate reports settings that cannot work.
func (c Config) Validate() error {
	var errs []error
	if c.Interval < time.Second {
		errs = append(errs, fmt.Errorf("ANALYZE_INTERVAL: %s is below a second", c.Interval))
	}
	if c.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("ANALYZE_CONCURRENCY: %d is below 1", c.Concurrency))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("ANALYZE_TIMEOUT: %s is not above 0", c.Timeout))
	}
	return errors.Join(errs...)
}

// Experiments is where definitions come from.
type Experiments interface {
	Projects() []experiment.Project
	Project(key string) (experiment.Project, bool)
	Experiments(project string) []*experiment.Experiment
	Experiment(project, key string) *experiment.Experiment
}

// Analyzer computes and keeps results. It is safe for concurrent use.
type Analyzer struct {
	cfg    Config
	db     *warehouse.DB
	topics event.Topics
	known  func() Experiments
	log    *slog.Logger

	seconds *telemetry.HistogramVec
	runs    *telemetry.CounterVec

	mu      sync.Mutex
	last    map[[2]string]kept
	flights map[question]*flight // that one may join
	running map[*flight]bool     // and those that were given up but have not ended
}

// kept is an experiment's last result, and what it was computed from.
type kept struct {
	result   *report.Result
	checked  time.Time // when it was last found to be still right
	computed time.Time
	marks    []query.Watermark // nil: read back from the warehouse, not comparable
	zone     string
}

// journalDays is how far back the journal of changes is relied on, below its
// TTL of seven days.
const journalDays = 6 * 24 * time.Hour

// New makes an analyzer over a migrated warehouse. known gives the newest
// definitions.
func New(cfg Config, db *warehouse.DB, topics event.Topics, known func() Experiments, log *slog.Logger, t *telemetry.Telemetry) *Analyzer {
	return &Analyzer{
		cfg: cfg, db: db, topics: topics, known: known, log: log, last: map[[2]string]kept{}, flights: map[question]*flight{}, running: map[*flight]bool{},
		seconds: t.Histogram("run_seconds", "One experiment's computation.", telemetry.Latency(), "project"),
		runs:    t.Counter("runs_total", "Looks at an experiment: computed, kept or failed.", "outcome"),
	}
}

// Last is an experiment's last result and when it was last found right, nil if
// there is none.
func (a *Analyzer) Last(project, key string) (*report.Result, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.last[[2]string{project, key}]
	return k.result, k.checked
}

func (a *Analyzer) refresh(ctx context.Context, x *experiment.Experiment, p experiment.Project) (*report.Result, error) {
	id := [2]string{x.Project, x.Key}
	a.mu.Lock()
	last := a.last[id]
	a.mu.Unlock()
	if a.still(last, x, p) {
		news, err := a.news(ctx, x, last.marks)
		if err != nil {
			a.runs.WithLabelValues("failed").Inc()
			return nil, err
		}
		if !news {
			a.runs.WithLabelValues("kept").Inc()
			last.checked = time.Now()
			a.mu.Lock()
			a.last[id] = last
			a.mu.Unlock()
			return last.result, nil
		}
	}
	// The watermarks before the rows: what is stored after them is news next time.
	marks, err := selectAll[query.Watermark](ctx, a.db, query.Watermarks())
	if err != nil {
		a.runs.WithLabelValues("failed").Inc()
		return nil, fmt.Errorf("reading the watermarks: %w", err)
	}
	r, err := a.Compute(ctx, x, p)
	if err == nil {
		err = a.store(ctx, r)
	}
	if err != nil {
		a.runs.WithLabelValues("failed").Inc()
		return nil, err
	}
	a.runs.WithLabelValues("computed").Inc()
	a.seconds.WithLabelValues(x.Project).Observe(r.Seconds)
	if marks == nil {
		marks = []query.Watermark{}
	}
	a.mu.Lock()
	a.last[id] = kept{result: r, checked: r.ComputedAt, computed: r.ComputedAt, marks: marks, zone: p.Timezone}
	a.mu.Unlock()
	return r, nil
}

// still reports whether the journal can tell that a last result stands.
func (a *Analyzer) still(last kept, x *experiment.Experiment, p experiment.Project) bool {
	return last.result != nil && last.marks != nil && last.result.Version == x.Version &&
		last.zone == p.Timezone && time.Since(last.computed) < journalDays
}

func (a *Analyzer) news(ctx context.Context, x *experiment.Experiment, marks []query.Watermark) (bool, error) {
	rows, err := selectAll[struct {
		N int64 `ch:"n"`
	}](ctx, a.db, query.News(x, marks, a.topics))
	if err != nil {
		return false, fmt.Errorf("asking for news of %s/%s: %w", x.Project, x.Key, err)
	}
	return len(rows) != 1 || rows[0].N > 0, nil
}

// Compute computes an experiment's result, whatever was computed before, and
// stores it nowhere.
func (a *Analyzer) Compute(ctx context.Context, x *experiment.Experiment, p experiment.Project) (*report.Result, error) {
	if x.Start.IsZero() {
		return nil, fmt.Errorf("experiment %s/%s: %w", x.Project, x.Key, ErrNotStarted)
	}
	began := time.Now()
	start, end := x.Window()
	rows, err := selectAll[query.Row](ctx, a.db, query.Totals(x, start, end))
	if err != nil {
		return nil, fmt.Errorf("computing %s/%s: %w", x.Project, x.Key, err)
	}
	totals, err := query.ReadTotals(x, rows)
	if err != nil {
		return nil, fmt.Errorf("computing %s/%s: %w", x.Project, x.Key, err)
	}
	r := Build(x, p, totals)
	r.ComputedAt, r.Seconds = began.UTC().Truncate(time.Microsecond), time.Since(began).Seconds()
	return r, nil
}

// Series computes the daily series of an experiment's trend metrics.
func (a *Analyzer) Series(ctx context.Context, x *experiment.Experiment, p experiment.Project) ([]report.Series, error) {
	if x.Start.IsZero() {
		return nil, fmt.Errorf("experiment %s/%s: %w", x.Project, x.Key, ErrNotStarted)
	}
	start, end := x.Window()
	q, ok := query.Series(x, start, end, p.Location().String())
	if !ok {
		return []report.Series{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	rows, err := selectAll[query.SeriesRow](ctx, a.db, q)
	if err != nil {
		return nil, fmt.Errorf("computing the series of %s/%s: %w", x.Project, x.Key, err)
	}
	days, err := query.ReadSeries(x, rows)
	if err != nil {
		return nil, fmt.Errorf("computing the series of %s/%s: %w", x.Project, x.Key, err)
	}
	return BuildSeries(x, days), nil
}

func selectAll[T any](ctx context.Context, db *warehouse.DB, q query.Query) ([]T, error) {
	return warehouse.Select[T](ctx, db, q.SQL, q.Params)
}

// Serve looks at every started experiment once per interval until ctx ends.
// When it returns nothing of the analyzer's runs any more, callers of Refresh
// apart.
func (a *Analyzer) Serve(ctx context.Context) error {
	defer a.wait()
	if err := a.restore(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("the last results could not be read back; they are computed anew", "error", err)
	}
	t := time.NewTicker(a.cfg.Interval)
	defer t.Stop()
	for {
		if err := a.RunAll(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("a scheduled run failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// RunAll refreshes every started experiment of every project. One that fails
// holds up no other; the error joins all faults.
func (a *Analyzer) RunAll(ctx context.Context) error {
	known := a.known()
	var g errgroup.Group
	g.SetLimit(a.cfg.Concurrency)
	var mu sync.Mutex
	var errs []error
	for _, p := range known.Projects() {
		for _, x := range known.Experiments(p.Key) {
			if x.State == experiment.Draft || x.State == experiment.Archived || x.Start.IsZero() {
				continue
			}
			g.Go(func() error {
				if ctx.Err() != nil {
					return nil
				}
				if _, err := a.Refresh(ctx, x, p); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
				return nil
			})
		}
	}
	g.Wait()
	return errors.Join(errs...)
}

// resultRow is one row of experiment_results_raw.
type resultRow struct {
	Project      string    `ch:"project"`
	Experiment   string    `ch:"experiment"`
	Run          uuid.UUID `ch:"run"`
	Metric       string    `ch:"metric"`
	Kind         string    `ch:"kind"`
	Variant      string    `ch:"variant"`
	IsControl    bool      `ch:"is_control"`
	Entities     uint64    `ch:"entities"`
	SetAside     uint64    `ch:"set_aside"`
	Value        float64   `ch:"value"`
	ValueLow     float64   `ch:"value_low"`
	ValueHigh    float64   `ch:"value_high"`
	Converters   uint64    `ch:"converters"`
	Total        string    `ch:"total"`
	Absolute     float64   `ch:"absolute"`
	AbsoluteLow  float64   `ch:"absolute_low"`
	AbsoluteHigh float64   `ch:"absolute_high"`
	Relative     float64   `ch:"relative"`
	RelativeLow  float64   `ch:"relative_low"`
	RelativeHigh float64   `ch:"relative_high"`
	P            float64   `ch:"p"`
	AlwaysP      float64   `ch:"always_valid_p"`
	Win          float64   `ch:"win_probability"`
	Loss         float64   `ch:"expected_loss"`
	Decision     string    `ch:"decision"`
	Code         string    `ch:"code"`
	SRMP         float64   `ch:"srm_p"`
}

type runRow struct {
	Project    string    `ch:"project"`
	Experiment string    `ch:"experiment"`
	Run        uuid.UUID `ch:"run"`
	ComputedAt time.Time `ch:"computed_at"`
	Version    int64     `ch:"version"`
	SRMP       float64   `ch:"srm_p"`
	Body       string    `ch:"body"`
}

// store writes a result's rows and then, when they all stand, the line that
// makes them count.
func (a *Analyzer) store(ctx context.Context, r *report.Result) error {
	run := uuid.New()
	var rows []resultRow
	for i := range r.Metrics {
		m := &r.Metrics[i]
		for j, arm := range m.Arms {
			c := m.Comparison(arm.Variant)
			if c == nil {
				c = &stats.Comparison{P: 1, AlwaysP: 1, Win: 0.5}
			}
			rows = append(rows, resultRow{
				Project: r.Project, Experiment: r.Experiment, Run: run, Metric: m.Key, Kind: string(m.Kind), Variant: arm.Variant, IsControl: arm.Variant == r.Control,
				Entities: arm.N, SetAside: r.Arms[j].SetAside, Value: arm.Value, ValueLow: arm.Interval.Low, ValueHigh: arm.Interval.High,
				Converters: arm.Converters, Total: arm.Total,
				Absolute: c.Absolute, AbsoluteLow: c.AbsoluteInterval.Low, AbsoluteHigh: c.AbsoluteInterval.High,
				Relative: c.Relative, RelativeLow: c.RelativeInterval.Low, RelativeHigh: c.RelativeInterval.High,
				P: c.P, AlwaysP: c.AlwaysP, Win: c.Win, Loss: c.LossIfShip, Decision: string(c.Decision), Code: string(c.Code), SRMP: r.SRM.P,
			})
		}
	}
	if len(rows) > 0 {
		if err := warehouse.InsertRows(ctx, a.db, "experiment_results_raw", rows); err != nil {
			return fmt.Errorf("storing the result of %s/%s: %w", r.Project, r.Experiment, err)
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the result of %s/%s: %w", r.Project, r.Experiment, err)
	}
	line := runRow{Project: r.Project, Experiment: r.Experiment, Run: run, ComputedAt: r.ComputedAt, Version: r.Version, SRMP: r.SRM.P, Body: string(body)}
	if err := warehouse.InsertRows(ctx, a.db, "experiment_runs", []runRow{line}); err != nil {
		return fmt.Errorf("storing the run of %s/%s: %w", r.Project, r.Experiment, err)
	}
	return nil
}

// restore reads the last results back, so that a restarted server has answers
// at once. They are computed anew at the first look.
func (a *Analyzer) restore(ctx context.Context) error {
	bodies, err := selectAll[string](ctx, a.db, query.LastRuns())
	if err != nil {
		return fmt.Errorf("reading the last results: %w", err)
	}
	for _, b := range bodies {
		r := new(report.Result)
		if err := json.Unmarshal([]byte(b), r); err != nil {
			a.log.Warn("a stored result cannot be read and is passed over", "error", err)
			continue
		}
		a.mu.Lock()
		if id := [2]string{r.Project, r.Experiment}; a.last[id].result == nil {
			a.last[id] = kept{result: r, checked: r.ComputedAt, computed: r.ComputedAt}
		}
		a.mu.Unlock()
	}
	return nil
}
