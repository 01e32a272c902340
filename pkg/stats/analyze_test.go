package stats_test

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/stats"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance || math.IsNaN(got) {
		t.Errorf("%s = %.12g, want %.12g", what, got, want)
	}
}

// The published values of GrowthBook's SRM tests (vectors gb-srm-*).
func TestSRMGivesThePublishedValues(t *testing.T) {
	tests := []struct {
		name    string
		counts  []uint64
		weights []float64
		p       float64
	}{
		{"two arms, as they should be", []uint64{135, 115}, []float64{.5, .5}, 0.2059032107320684},
		{"uneven weights", []uint64{310, 98}, []float64{.75, .25}, 0.6474341857017971},
		{"one arm", []uint64{1000}, []float64{.5, .5}, 1},
		{"one weight", []uint64{1000, 900, 800}, []float64{1, 0, 0}, 1},
		{"an arm of weight zero", []uint64{1000, 1200, 900}, []float64{.5, .5, 0}, 2.0078656124264817e-05},
		{"an empty arm", []uint64{0, 10, 10}, []float64{.34, .33, .33}, 0.0057906244034232005},
		{"equal", []uint64{500, 500}, []float64{.5, .5}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, p := stats.SRM(tt.counts, tt.weights)
			near(t, "p", p, tt.p, 1e-12)
		})
	}
}

// Vector gb-bayes-mean-flat: control 10 units Σ 100 Σ² 1002.25, treatment 10
// units Σ 105 Σ² 1111.5, relative.
func TestFlatPosteriorGivesThePublishedValues(t *testing.T) {
	// in hundredths: Σ and Σ² times 10² and 10⁴
	c := stats.FromSums(10, big.NewInt(10000), big.NewInt(10022500)).Summary(100)
	b := stats.FromSums(10, big.NewInt(10500), big.NewInt(11115000)).Summary(100)
	e, code := stats.Relative(c, b)
	if code != stats.OK {
		t.Fatal(code)
	}
	p := stats.FlatPosterior(e, 0.05)
	near(t, "estimate", e.Estimate, 0.05, 1e-12)
	near(t, "posterior deviation", e.SE, 0.03571589282098377, 1e-12)
	near(t, "low", p.Interval.Low, -0.020001863604820855, 1e-9)
	near(t, "high", p.Interval.High, 0.12000186360482086, 1e-9)
	near(t, "win", p.Win, 0.91923, 5.1e-6)
	near(t, "loss of control", p.LossIfRefuse, 0.05131, 5.1e-6)
	near(t, "loss of treatment", p.LossIfShip, 0.00131, 5.1e-6)
}

// Vector gb-seq-row-count-600, relative: 100 units Σ 270 Σ² 848.79 against 120
// units Σ 300 Σ² 869, tuning 600.
func TestAlwaysValidGivesThePublishedValues(t *testing.T) {
	c := stats.FromSums(100, big.NewInt(27000), big.NewInt(8487900)).Summary(100)
	b := stats.FromSums(120, big.NewInt(30000), big.NewInt(8690000)).Summary(100)
	e, code := stats.Relative(c, b)
	if code != stats.OK {
		t.Fatal(code)
	}
	i, p := stats.AlwaysValid(e, 220, 0.05, 600)
	near(t, "estimate", e.Estimate, -0.074074074, 5.1e-10)
	near(t, "low", i.Low, -0.233322085, 5.1e-10)
	near(t, "p", p, 0.892332229, 5.1e-10)
}

// By hand: control 1..5 (mean 3, variance 2.5), treatment 2,4,6,8,10 (mean 6,
// variance 10). se² = 0.5 + 2 = 2.5, df = 2.5²/(0.5²/4 + 2²/4) = 6.25/1.0625.
// t = 3/√2.5; the two-sided p of that t is integrated here, by Simpson's rule.
func TestWelchAgainstArithmetic(t *testing.T) {
	var c, b stats.Moments
	for i := range int64(5) {
		c.Add(i + 1)
		b.Add(2 * (i + 1))
	}
	e, code := stats.Absolute(c.Summary(1), b.Summary(1))
	if code != stats.OK {
		t.Fatal(code)
	}
	df := 6.25 / 1.0625
	near(t, "df", e.DF, df, 1e-12)
	near(t, "se", e.SE, math.Sqrt(2.5), 1e-15)
	_, p := stats.Welch(e, 0.05)
	x := 3 / math.Sqrt(2.5)
	near(t, "p", p, 1-2*simpson(func(u float64) float64 { return studentDensity(u, df) }, 0, x), 1e-9)
}

func studentDensity(x, df float64) float64 {
	a, _ := math.Lgamma((df + 1) / 2)
	b, _ := math.Lgamma(df / 2)
	return math.Exp(a-b) / math.Sqrt(df*math.Pi) * math.Pow(1+x*x/df, -(df+1)/2)
}

func simpson(f func(float64) float64, a, b float64) float64 {
	const n = 2000
	h := (b - a) / n
	s := f(a) + f(b)
	for i := 1; i < n; i++ {
		s += f(a+float64(i)*h) * float64(2+2*(i%2))
	}
	return s * h / 3
}

func TestMomentsAreTheSameInAnyOrderAndGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(math.MinInt64+1, math.MaxInt64), 0, 50).Draw(t, "values")
		cut := rapid.IntRange(0, len(values)).Draw(t, "cut")
		var left, right stats.Moments
		sum, sq := new(big.Int), new(big.Int)
		for i, v := range values {
			if i < cut {
				left.Add(v)
			} else {
				right.Add(v)
			}
			b := big.NewInt(v)
			sum.Add(sum, b)
			sq.Add(sq, b.Mul(b, b))
		}
		right.Merge(left)
		if right != stats.FromSums(uint64(len(values)), sum, sq) {
			t.Fatalf("merged %v %v, want %v %v", right.Sum(), right.SumSq(), sum, sq)
		}
		if right.Sum().Cmp(sum) != 0 || right.SumSq().Cmp(sq) != 0 {
			t.Fatalf("sums %v %v, want %v %v", right.Sum(), right.SumSq(), sum, sq)
		}
	})
}

// Two units 10⁶ apart by 1 among values near 10¹²: a float sum of squares would
// lose the variance, which is exactly 1/2.
func TestVarianceDoesNotCancel(t *testing.T) {
	var m stats.Moments
	m.Add(1_000_000_000_000)
	m.Add(1_000_000_000_001)
	if v := m.Summary(1).Variance; v != 0.5 {
		t.Errorf("variance %v, want 0.5", v)
	}
}

func TestNothingIsEverNaN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		arm := rapid.Custom(func(t *rapid.T) stats.Arm {
			var m stats.Moments
			for _, v := range rapid.SliceOfN(rapid.Int64Range(-3, 3), 0, 6).Draw(t, "values") {
				m.Add(v)
			}
			return stats.Arm{Name: "x", Moments: m, Unit: 1}
		})
		arms := rapid.SliceOfN(arm, 0, 3).Draw(t, "arms")
		kind := rapid.SampledFrom([]stats.Kind{stats.Mean, stats.Proportion}).Draw(t, "kind")
		if kind == stats.Proportion {
			for i := range arms {
				n := rapid.Uint64Range(0, 5).Draw(t, "n")
				arms[i].Moments = stats.FromCounts(n, rapid.Uint64Range(0, n).Draw(t, "k"))
			}
		}
		if _, err := json.Marshal(stats.Analyze(kind, arms, stats.Settings{Alpha: rapid.Float64().Draw(t, "alpha")})); err != nil {
			t.Fatal(err) // JSON refuses NaN and Inf
		}
	})
}

func TestAnAbsurdAlphaGivesACodeAndNeutralNumbers(t *testing.T) {
	arms := []stats.Arm{{Moments: stats.FromCounts(1000, 100)}, {Moments: stats.FromCounts(1000, 200)}}
	for _, alpha := range []float64{1e-155, -1, 0.9, 1, math.NaN(), math.Inf(1)} {
		c := stats.Analyze(stats.Proportion, arms, stats.Settings{Alpha: alpha}).Comparisons[0]
		if c.Code != stats.BadInput || c.P != 1 || c.Win != 0.5 || c.Decision != stats.NotYet {
			t.Errorf("alpha %v: %+v", alpha, c)
		}
	}
}

func TestDecisions(t *testing.T) {
	arm := func(n, k uint64) stats.Arm { return stats.Arm{Moments: stats.FromCounts(n, k)} }
	tests := []struct {
		name string
		c, b stats.Arm
		set  stats.Settings
		want stats.Decision
	}{
		{"a clear win", arm(1000, 100), arm(1000, 200), stats.Settings{}, stats.Better},
		{"the same where less is better", arm(1000, 100), arm(1000, 200), stats.Settings{LowerIsBetter: true}, stats.Worse},
		{"nothing to see", arm(1000, 100), arm(1000, 101), stats.Settings{}, stats.Inconclusive},
		{"too few units", arm(50, 5), arm(50, 40), stats.Settings{}, stats.NotYet},
		{"too few converters", arm(10000, 0), arm(10000, 9), stats.Settings{}, stats.NotYet},
		{"no units at all", arm(0, 0), arm(0, 0), stats.Settings{}, stats.NotYet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := stats.Analyze(stats.Proportion, []stats.Arm{tt.c, tt.b}, tt.set).Comparisons[0].Decision; d != tt.want {
				t.Errorf("decided %s, want %s", d, tt.want)
			}
		})
	}
}

func BenchmarkAnalyzeMean(b *testing.B) {
	c := stats.FromSums(500_000, big.NewInt(5_000_000_000_000), new(big.Int).SetUint64(1e20/10))
	x := []stats.Arm{{Moments: c, Unit: 1e6}, {Moments: c, Unit: 1e6}}
	b.ReportAllocs()
	for b.Loop() {
		stats.Analyze(stats.Mean, x, stats.Settings{})
	}
}
