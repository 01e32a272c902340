// Command analyzer measures how long an experiment's results take: 10 million
// events of a million visitors on the embedded engine, two windows of 30 of 90
// days, every figure the median of several runs, beside a bare scan that groups
// the same rows by their anchor.
//
//	go run ./bench/analyzer
//	go run ./bench/analyzer -data /var/tmp/bench   # keeps the population for the next run
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/embedded/engine"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

//go:embed population.sql
var populationSQL string

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	log.SetFlags(0)
	events := flag.Int("events", 10_000_000, "events to make")
	runs := flag.Int("runs", 7, "runs of each measurement")
	data := flag.String("data", "", "where to keep the population; empty: thrown away")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, *events, *runs, *data); err != nil {
		log.Fatal(err)
	}
}

func measure(ctx context.Context, events, runs int, data string) error {
	s, err := engine.Start(ctx, engine.Config{Addr: "127.0.0.1:0", DataDir: data})
	if err != nil {
		return err
	}
	defer s.Close()
	db, err := warehouse.Open(ctx, warehouse.Config{DSN: s.DSN()})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	if err := populate(ctx, db, events); err != nil {
		return fmt.Errorf("making the population: %w", err)
	}
	log.Printf("%d events · %d cores · %s · median of %d, least and most\n", events, runtime.NumCPU(), runtime.GOARCH, runs)
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "what\tmedian s\tleast\tmost\tof the floor\taim s")
	var floor time.Duration
	for _, m := range measurements(db) {
		times, err := repeat(ctx, runs, m.run)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		median := times[len(times)/2]
		if floor == 0 {
			floor = median
		}
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%.2f\t%s\n", m.name, median.Seconds(), times[0].Seconds(), times[len(times)-1].Seconds(), median.Seconds()/floor.Seconds(), m.aim)
	}
	t.Flush()
	log.Printf("peak memory of the process, engine included: %s", peak())
	return nil
}

// repeat runs once to warm up, then several times, and gives the times sorted.
func repeat(ctx context.Context, runs int, run func(context.Context) error) ([]time.Duration, error) {
	if err := run(ctx); err != nil {
		return nil, err
	}
	var out []time.Duration
	for range runs {
		began := time.Now()
		if err := run(ctx); err != nil {
			return nil, err
		}
		out = append(out, time.Since(began))
	}
	slices.Sort(out)
	return out, nil
}

type measurement struct {
	name, aim string
	run       func(context.Context) error
}

func measurements(db *warehouse.DB) []measurement {
	project := experiment.Project{Key: "bench", Timezone: "Europe/Berlin"}
	an := analyze.New(analyze.Config{Interval: time.Minute, Concurrency: 1, Timeout: 5 * time.Minute}, db, event.NewTopics(""), nil, slog.Default(), nil)
	funnel := experiment.Metric{Key: "buy", Kind: experiment.Funnel, Steps: []string{"view", "signup", "purchase"}}
	revenue := experiment.Metric{Key: "revenue", Kind: experiment.Sum, Event: "purchase"}
	unique := func(name string) experiment.Metric {
		return experiment.Metric{Key: name, Kind: experiment.Unique, Event: name}
	}
	define := func(days int, metrics ...experiment.Metric) *experiment.Experiment {
		return &experiment.Experiment{
			Project: "bench", Key: "checkout", Version: 1, State: experiment.Running, Start: start.AddDate(0, 0, 30), End: start.AddDate(0, 0, 30+days),
			Variants:         []experiment.Variant{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}},
			ConversionWindow: experiment.Duration(14 * 24 * time.Hour), Metrics: metrics,
		}
	}
	compute := func(x *experiment.Experiment) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := an.Compute(ctx, x, project)
			return err
		}
	}
	series := func(x *experiment.Experiment) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := an.Series(ctx, x, project)
			return err
		}
	}
	five := define(30, revenue, unique("purchase"), unique("signup"), unique("open"), funnel)
	return []measurement{
		{"floor: the rows of the funnel grouped by anchor", "", func(ctx context.Context) error {
			_, err := warehouse.Select[uint64](ctx, db, floorSQL, map[string]any{"start": five.Start, "end": five.End})
			return err
		}},
		{"3-step funnel with median times", "0.8", compute(define(30, funnel))},
		{"trend of views, totals", "", compute(define(30, unique("view")))},
		{"trend of views, daily and cumulative", "0.6", series(define(30, experiment.Metric{Key: "views", Kind: experiment.Count, Event: "view"}))},
		{"five metrics in one pass", "1.0", compute(five)},
		{"their four series in one pass", "", series(five)},
		{"nothing new: the last result is kept", "0.010", func(ctx context.Context) error {
			_, err := an.Refresh(ctx, five, project)
			return err
		}},
	}
}

const floorSQL = `SELECT count() FROM (
  SELECT anchor, min(time) AS first, count() AS n FROM (
    SELECT anchor, time FROM exposures_raw WHERE project = 'bench' AND experiment = 'checkout' AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
    UNION ALL
    SELECT anchor, time FROM kpis_raw WHERE project = 'bench' AND name IN ('view', 'signup', 'purchase') AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
  ) GROUP BY anchor)`

// populate makes the events in blocks, as an aggregator would store them, and
// the ledger's lines that the news are asked against.
func populate(ctx context.Context, db *warehouse.DB, events int) error {
	n, err := warehouse.Select[uint64](ctx, db, "SELECT count() FROM kpis_raw", nil)
	if err != nil || n[0] > 0 {
		return err
	}
	statements := strings.Split(populationSQL, ";\n")
	params := func(from, to int) map[string]any {
		return map[string]any{
			"start": start.UnixMicro(), "visitors": events / 10, "matched": events / 10 * 6 / 10, "users": events / 20, "from": from, "to": to,
		}
	}
	began := time.Now()
	if err := db.Exec(ctx, statements[0], params(0, 0)); err != nil {
		return err
	}
	const block = 500_000
	for i, total := range []int{events * 3 / 10, events * 7 / 10} {
		for from := 0; from < total; from += block {
			if err := db.Exec(ctx, statements[i+1], params(from, min(from+block, total))); err != nil {
				return err
			}
		}
	}
	topics := event.NewTopics("")
	type line struct {
		Topic     string    `ch:"topic"`
		Partition uint16    `ch:"topic_partition"`
		From      int64     `ch:"from_offset"`
		To        int64     `ch:"to_offset"`
		At        time.Time `ch:"at"`
	}
	var lines []line
	for _, topic := range topics.Events() {
		for p := range uint16(8) {
			lines = append(lines, line{topic, p, 0, int64(events), time.Now()})
		}
	}
	if err := warehouse.InsertRows(ctx, db, "batches", lines); err != nil {
		return err
	}
	log.Printf("made in %.0f s", time.Since(began).Seconds())
	return nil
}

// peak is the most memory the process has held, "unknown" where the system
// does not tell.
func peak() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB")); err == nil {
				return fmt.Sprintf("%d MB", kb/1024)
			}
		}
	}
	return "unknown"
}
