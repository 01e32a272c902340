package analyze_test

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
	"github.com/hypostream/hypostream/pkg/report"
)

func counts(n, k int64) query.Metric {
	return query.Metric{Events: big.NewInt(n), EventsSq: big.NewInt(n), Converters: uint64(k), Sum: new(big.Int), SumSq: new(big.Int)}
}

// The split is tested over all that were drawn, those set aside later
// included: 100 + 20 and 200 + 10 of 330, where 110 and 220 are due, is
// χ² = 10²/110 + 10²/220 = 15/11, with one degree of freedom p = erfc(√(χ²/2)).
// Control stands last here, and is still what the other arm is compared with.
func TestControlIsComparedWithWhereverItStands(t *testing.T) {
	x := &experiment.Experiment{
		Project: "p", Key: "x", State: experiment.Running, Start: start, Control: "old",
		Variants: []experiment.Variant{{Key: "new", Weight: 0.5}, {Key: "old", Weight: 0.25}, {Key: "off", Weight: 0}},
		Metrics:  []experiment.Metric{{Key: "buyers", Kind: experiment.Unique, Event: "buy", Better: experiment.Decrease}},
	}
	r := analyze.Build(x, project, query.Result{Arms: []query.Arm{
		{Variant: "new", Entities: 200, Switched: 10, Metrics: []query.Metric{counts(50, 40)}},
		{Variant: "old", Entities: 100, Switched: 20, Metrics: []query.Metric{counts(10, 10)}},
		{Variant: "off", Entities: 3, Metrics: []query.Metric{counts(0, 0)}},
	}})
	if math.Abs(r.SRM.Chi2-15.0/11) > 1e-12 || math.Abs(r.SRM.P-math.Erfc(math.Sqrt(15.0/22))) > 1e-9 || r.SRM.Mismatch {
		t.Errorf("SRM %+v", r.SRM)
	}
	m := r.Metrics[0]
	if r.Control != "old" || len(m.Comparisons) != 2 || m.Comparison("old") != nil {
		t.Fatalf("control %q, comparisons %+v", r.Control, m.Comparisons)
	}
	if c := m.Comparison("new"); math.Abs(c.Absolute-0.1) > 1e-12 || math.Abs(c.Relative-1) > 1e-12 || c.Win > 0.5 {
		t.Errorf("0.2 against 0.1, less is better: %+v", c)
	}
	if got := []report.Arm{r.Arms[0], r.Arms[1]}; got[0].SetAside != 10 || got[1].SetAside != 20 || m.Arms[0].Converters != 40 || m.Arms[0].Value != 0.2 {
		t.Errorf("arms %+v %+v", r.Arms, m.Arms)
	}
}

// An experiment that nobody has seen yet is an answer like any other.
func TestAnEmptyExperimentIsNoError(t *testing.T) {
	x := checkout()
	x.Metrics = append(x.Metrics, experiment.Metric{Key: "mean", Kind: experiment.Mean, Event: "buy"}, experiment.Metric{Key: "count", Kind: experiment.Count, Event: "buy"})
	empty, err := query.ReadTotals(x, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := analyze.Build(x, project, empty)
	if _, err := json.Marshal(r); err != nil {
		t.Fatal(err) // JSON refuses NaN and Inf
	}
	if r.SRM.P != 1 || r.Metrics[0].Comparisons[0].P != 1 || r.Metrics[1].Arms[0].Total != "0" {
		t.Errorf("%+v", r)
	}
}

// Two people, 3 and 4 units on the first day, the first one 5 more on the
// third: by then (3+5)² + 4² = 80 over two people, mean 6, variance
// 80 − 2·36 = 8. The day between stands with zeros.
func TestASeriesAddsUp(t *testing.T) {
	x := checkout()
	x.Metrics = []experiment.Metric{{Key: "revenue", Kind: experiment.Mean, Event: "buy"}, {Key: "buyers", Kind: experiment.Unique, Event: "buy"}}
	unit := int64(1_000_000)
	square := func(n int64) *big.Int { return big.NewInt(n * unit * unit) }
	days := []query.Day{
		{Date: "2026-03-28", Events: 2, Converters: 2, New: 2, Sum: big.NewInt(7 * unit), SumSqStep: square(25)},
		{Date: "2026-03-30", Events: 1, Converters: 1, New: 0, Sum: big.NewInt(5 * unit), SumSqStep: square(64 - 9)},
	}
	s := analyze.BuildSeries(x, query.DaySeries{
		Exposed: map[string][]query.Day{"b": {{Date: "2026-03-28", Events: 2}}},
		Metrics: []map[string][]query.Day{{"b": days}, {"b": days}},
	})
	type line struct {
		Date            string
		Total, CumTotal string
		Exposed         uint64
		Value           float64
	}
	lines := func(s report.Series) (out []line) {
		for _, d := range s.Arms[1].Days {
			out = append(out, line{d.Date, d.Total, d.CumTotal, d.CumExposed, d.CumValue})
		}
		return out
	}
	want := []line{{"2026-03-28", "7", "7", 2, 3.5}, {"2026-03-29", "0", "7", 2, 3.5}, {"2026-03-30", "5", "12", 2, 6}}
	if d := cmp.Diff(want, lines(s[0])); d != "" {
		t.Error(d)
	}
	want = []line{{"2026-03-28", "2", "2", 2, 1}, {"2026-03-29", "0", "2", 2, 1}, {"2026-03-30", "1", "2", 2, 1}}
	if d := cmp.Diff(want, lines(s[1])); d != "" {
		t.Error(d)
	}
	// t(0.975, 1 df) = 12.7062; the standard error is √(8/2) = 2.
	if i := s[0].Arms[1].Days[2].CumInterval; math.Abs(i.High-(6+12.7062047*2)) > 1e-4 {
		t.Errorf("interval %+v", i)
	}
	if n := len(s[0].Arms[0].Days); n != 3 {
		t.Errorf("the arm where nothing happened has %d days, want 3 zeros", n)
	}
}
