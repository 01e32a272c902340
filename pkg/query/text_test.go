package query_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
)

var update = flag.Bool("update", false, "write the golden files anew")

func shop(metrics ...experiment.Metric) *experiment.Experiment {
	return &experiment.Experiment{
		Project: "secret-project", Key: "secret-key", State: experiment.Running, Start: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC),
		Variants:         []experiment.Variant{{Key: "secret-control", Weight: 0.5}, {Key: "secret-b", Weight: 0.5}},
		ConversionWindow: experiment.Duration(7 * 24 * time.Hour), Metrics: metrics,
	}
}

// The text that is sent, to be read in a review: it changes on purpose only.
func TestTheTextFollowsTheMetricsAndHoldsNoValue(t *testing.T) {
	sum := experiment.Metric{Key: "revenue", Kind: experiment.Sum, Event: "secret-buy"}
	buyers := experiment.Metric{Key: "buyers", Kind: experiment.Unique, Event: "secret-buy"}
	views := experiment.Metric{Key: "views", Kind: experiment.Count, Event: "secret-view", Window: experiment.Duration(time.Hour)}
	funnel := experiment.Metric{Key: "path", Kind: experiment.Funnel, Steps: []string{"secret-view", "secret-buy", "secret-view"}}
	tests := []struct {
		name string
		x    *experiment.Experiment
	}{
		{"no metric", shop()},
		{"one unique", shop(buyers)},
		{"all kinds", shop(sum, buyers, views, funnel)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start, end := tt.x.Window()
			all := map[string]query.Query{"totals": query.Totals(tt.x, start, end)}
			if q, ok := query.Series(tt.x, start, end, "Europe/Berlin"); ok {
				all["series"] = q
			}
			for name, q := range all {
				for _, value := range []string{"secret", "Berlin", fmt.Sprint(start), fmt.Sprint(end), "604800000000", "3600000000"} {
					if strings.Contains(q.SQL, value) {
						t.Errorf("%s: the text holds the value %q", name, value)
					}
				}
				for _, p := range regexp.MustCompile(`\{(\w+):[\w()]+\}`).FindAllStringSubmatch(q.SQL, -1) {
					if _, ok := q.Params[p[1]]; !ok {
						t.Errorf("%s: nothing is given for {%s}", name, p[1])
					}
				}
				file := filepath.Join("testdata", strings.ReplaceAll(tt.name, " ", "_")+"."+name+".sql")
				if *update {
					if err := os.WriteFile(file, []byte(q.SQL), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), q.SQL); d != "" {
					t.Errorf("%s (go test -update writes it anew):\n%s", file, d)
				}
			}
		})
	}
}

// Metrics on one event and window are read from one count.
func TestMetricsShareWhatTheyCount(t *testing.T) {
	buy := func(key string, kind experiment.MetricKind, w time.Duration) experiment.Metric {
		return experiment.Metric{Key: key, Kind: kind, Event: "buy", Window: experiment.Duration(w)}
	}
	start, end := shop().Window()
	one := query.Totals(shop(buy("a", experiment.Sum, 0)), start, end).SQL
	three := query.Totals(shop(buy("a", experiment.Sum, 0), buy("b", experiment.Unique, 0), buy("c", experiment.Count, 7*24*time.Hour)), start, end).SQL
	if one != three {
		t.Error("three metrics on one event and window make another text than one")
	}
	if query.Totals(shop(buy("a", experiment.Sum, 0), buy("b", experiment.Sum, time.Hour)), start, end).SQL == one {
		t.Error("two windows make the same text as one")
	}
}

func TestNewsAsksPastEachPartitionsOwnMark(t *testing.T) {
	topics := event.NewTopics("")
	q := query.News(shop(experiment.Metric{Key: "a", Kind: experiment.Unique, Event: "buy"}), []query.Watermark{
		{Topic: topics.KPIs, Partition: 2, Upto: 30}, {Topic: topics.Exposures, Partition: 0, Upto: 7}, {Topic: "another", Partition: 1, Upto: 9},
	}, topics)
	want := map[string]any{
		"project": "secret-project", "experiment": "secret-key", "names": []string{"buy"},
		"exposures": []int64{7, 0, 0}, "kpis": []int64{0, 0, 30}, "matches": []int64{0, 0, 0},
	}
	if d := cmp.Diff(want, q.Params); d != "" {
		t.Error(d)
	}
}

func TestAnswersThatCannotBeAreRefused(t *testing.T) {
	x := shop(experiment.Metric{Key: "a", Kind: experiment.Unique, Event: "buy"})
	tests := []struct {
		name string
		row  query.Row
	}{
		{"a variant that is not there", query.Row{Part: 1, Variant: 3, Cells: []string{"1", "0", "1", "1", "1"}}},
		{"no variant", query.Row{Part: 1, Variant: 0, Cells: []string{"1", "0", "1", "1", "1"}}},
		{"too few cells", query.Row{Part: 1, Variant: 1, Cells: []string{"1", "0"}}},
		{"a cell that is no number", query.Row{Part: 1, Variant: 1, Cells: []string{"1", "0", "nan", "1", "1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := query.ReadTotals(x, []query.Row{tt.row}); err == nil {
				t.Errorf("read as %+v", r)
			}
		})
	}
}
