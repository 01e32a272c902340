package stats_test

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/stats"
)

// Three comparisons that can be tested, one that cannot: Holm over three.
func TestFamilyTakesInWhatCouldBeTested(t *testing.T) {
	results := []stats.Result{
		{Comparisons: []stats.Comparison{{P: 0.01, AlwaysP: 1}, {P: 0.03, AlwaysP: 1}}},
		{Comparisons: []stats.Comparison{{P: 1, Code: stats.NoUnits}, {P: 0.04, AlwaysP: 0.001}}},
	}
	if code := stats.AdjustFamily(results, stats.Holm); code != stats.OK {
		t.Fatal(code)
	}
	near(t, "least", *results[0].Comparisons[0].AdjustedP, 0.03, 1e-12)    // 3 · 0.01
	near(t, "middle", *results[0].Comparisons[1].AdjustedP, 0.06, 1e-12)   // 2 · 0.03
	near(t, "greatest", *results[1].Comparisons[1].AdjustedP, 0.06, 1e-12) // no less than the middle
	near(t, "always", *results[1].Comparisons[1].AdjustedAlwaysP, 0.003, 1e-12)
	if results[1].Comparisons[0].AdjustedP != nil {
		t.Error("what could not be tested has an adjusted p")
	}
	if code := stats.AdjustFamily(results, "no such"); code != stats.BadInput {
		t.Error("an unknown correction is taken")
	}
}

// 0.02 a unit, 5,000 units in ten days at half the traffic: 1,000 units a day.
func TestPerDay(t *testing.T) {
	e, code := stats.Effect{Estimate: 0.02, SE: 0.01}.PerDay(5000, 0.5, 10)
	if code != stats.OK {
		t.Fatal(code)
	}
	near(t, "per day", e.Estimate, 20, 1e-12)
	near(t, "error", e.SE, 10, 1e-12)
}
