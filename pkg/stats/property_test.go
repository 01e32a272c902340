package stats_test

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/stats"
)

func close8(a, b float64) bool {
	return math.Abs(a-b) <= 1e-8*max(math.Abs(a), math.Abs(b), 1e-300)
}

func drawJoint(t *rapid.T, k int, name string) stats.Joint {
	var j stats.Joint
	for range rapid.IntRange(3, 40).Draw(t, name) {
		v := make([]int64, k)
		for i := range v {
			v[i] = rapid.Int64Range(1, 1_000_000).Draw(t, "v")
		}
		j.Add(v...)
	}
	return j
}

// Ratio and CUPED from the definitions, over the units themselves.
func TestJointAgreesWithTheUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 50).Draw(t, "n")
		x, y := make([]float64, n), make([]float64, n)
		var whole, left, right stats.Joint
		for i := range n {
			a, b := rapid.Int64Range(-1e9, 1e9).Draw(t, "a"), rapid.Int64Range(-1e9, 1e9).Draw(t, "b")
			x[i], y[i] = float64(a)/1e6, float64(b)/1e6
			whole.Add(a, b)
			if rapid.Bool().Draw(t, "left") {
				left.Add(a, b)
			} else {
				right.Add(a, b)
			}
		}
		left.Merge(right)
		s, m := whole.Spread(1e6, 1e6), left.Spread(1e6, 1e6)
		if s != m {
			t.Fatal("the grouping of the merges shows")
		}
		var mx, my, xy float64
		for i := range n {
			mx, my = mx+x[i]/float64(n), my+y[i]/float64(n)
		}
		for i := range n {
			xy += (x[i] - mx) * (y[i] - my) / float64(n-1)
		}
		if math.Abs(s.Mean[0]-mx) > 1e-9*(1+math.Abs(mx)) || math.Abs(s.Cov[0][1]-xy) > 1e-6*(1+math.Abs(xy)) {
			t.Fatalf("mean %v, covariance %v; over the units %v, %v", s.Mean[0], s.Cov[0][1], mx, xy)
		}
	})
}

// The effect turns round when the arms do, and stays when the scale changes.
func TestSwapAndScale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawJoint(t, 2, "a"), drawJoint(t, 2, "b")
		arms := func(x, y stats.Joint, unit float64) []stats.Arm {
			return []stats.Arm{{Joint: &x, Units: []float64{unit, unit}}, {Joint: &y, Units: []float64{unit, unit}}}
		}
		for _, kind := range []stats.Kind{stats.Mean, stats.Ratio} {
			there := stats.Analyze(kind, arms(a, b, 1), stats.Settings{}).Comparisons[0]
			back := stats.Analyze(kind, arms(b, a, 1), stats.Settings{}).Comparisons[0]
			if !close8(there.Absolute, -back.Absolute) || !close8(there.P, back.P) || math.Abs(there.Win+back.Win-1) > 1e-9 {
				t.Fatalf("%s: %+v and back %+v", kind, there, back)
			}
			scaled := stats.Analyze(kind, arms(a, b, 1000), stats.Settings{}).Comparisons[0]
			if math.Abs(there.Relative-scaled.Relative) > 1e-9*(1+math.Abs(there.Relative)) || math.Abs(there.P-scaled.P) > 1e-9 {
				t.Fatalf("%s: %+v in thousands %+v", kind, there, scaled)
			}
		}
	})
}

// With the covariate equal to the value, nothing is left to vary; with θ of
// Y = 2X + noise near two, the variance falls by the noise's share.
func TestCovariateTakesItsVariance(t *testing.T) {
	var c, b stats.Joint
	for i := range int64(1000) {
		x, noise := (i*7919)%1000, (i*104729)%100
		c.Add(2*x+noise, x)
		b.Add(2*x+noise+50, x)
	}
	r := stats.Analyze(stats.Mean, []stats.Arm{{Joint: &c}, {Joint: &b}}, stats.Settings{})
	if math.Abs(r.Theta-2) > 0.02 || r.Reduction < 0.99 {
		t.Errorf("θ %v, reduction %v", r.Theta, r.Reduction)
	}
	if d := r.Comparisons[0]; math.Abs(d.Absolute-50) > 1e-9 || d.P > 1e-100 {
		t.Errorf("effect %v, p %v; want 50 and next to nothing", d.Absolute, d.P)
	}
}

// Nothing panics, nothing is NaN or infinite, and the JSON can be written.
func FuzzAnalyze(f *testing.F) {
	f.Add(uint64(10), uint64(3), int64(5), int64(-7), 0.05, 0.1, byte(0))
	f.Add(uint64(0), uint64(0), int64(0), int64(0), 0.0, -1.0, byte(3))
	f.Add(uint64(1)<<63, uint64(1), int64(math.MaxInt64), int64(math.MinInt64), math.NaN(), math.Inf(1), byte(4))
	f.Fuzz(func(t *testing.T, n, k uint64, x, y int64, alpha, priorVariance float64, which byte) {
		kind := []stats.Kind{stats.Proportion, stats.Mean, stats.Ratio, stats.Retention, stats.Quantile}[which%5]
		var j, l stats.Joint
		j.Add(x, y)
		j.Add(y, x)
		l.Add(x, x, y, y)
		l.Add(x, y, 0, 1)
		q := stats.QuantileSample{N: n, Nu: alpha, Value: float64(x), Low: float64(min(x, y)), High: float64(y), At: priorVariance}
		var m stats.Moments
		m.Add(x)
		m.Add(y)
		cases := [][]stats.Arm{
			{{Moments: stats.FromCounts(n, min(k, n))}, {Moments: stats.FromCounts(k, n)}},
			{{Moments: m}, {Moments: stats.FromCounts(n, k)}},
			{{Joint: &j}, {Joint: &l}}, {{Joint: &l}, {Joint: &l}}, {{Joint: &j}, {}}, {},
			{{Quantile: &q}, {Quantile: &q, Clusters: &j}},
		}
		for _, arms := range cases {
			r := stats.Analyze(kind, arms, stats.Settings{Alpha: alpha, Tuning: priorVariance, Prior: stats.Prior{Proper: true, Mean: alpha, Variance: priorVariance}})
			if _, err := json.Marshal(r); err != nil {
				t.Fatalf("%v of %+v", err, arms)
			}
		}
		laws := []stats.Law{stats.BetaLaw(alpha, priorVariance), stats.BetaLaw(float64(n)+1, float64(k)+1)}
		p, _ := stats.BestArm(laws, false)
		loss, _ := stats.ExpectedLoss(laws[1], laws[:1], false)
		for _, v := range append(p, loss) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%v of %+v", v, laws)
			}
		}
	})
}

// Two arms by a closed form (Evan Miller's sum), for whole α:
//
//	P(B > A) = Σ_{i<αB} B(αA+i, βA+βB) / ((βB+i)·B(1+i, βB)·B(αA, βA))
func TestBeatsAgreesWithTheClosedForm(t *testing.T) {
	lbeta := func(a, b float64) float64 {
		x, _ := math.Lgamma(a)
		y, _ := math.Lgamma(b)
		z, _ := math.Lgamma(a + b)
		return x + y - z
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) float64 { return float64(rapid.IntRange(1, 400).Draw(t, name)) }
		aA, bA, aB, bB := draw("aA"), draw("bA"), draw("aB"), draw("bB")
		var want float64
		for i := 0.0; i < aB; i++ {
			want += math.Exp(lbeta(aA+i, bA+bB) - math.Log(bB+i) - lbeta(1+i, bB) - lbeta(aA, bA))
		}
		got, _ := stats.Beats(stats.BetaLaw(aB, bB), stats.BetaLaw(aA, bA))
		if math.Abs(got-want) > 1e-10 {
			t.Fatalf("P = %.15g, want %.15g", got, want)
		}
	})
}

func TestBestArmOfManySizes(t *testing.T) {
	for _, n := range []float64{1, 10, 1e3, 1e6, 1e9} {
		// equal arms: a third each, and beside a sure winner nothing
		same := stats.BetaLaw(n/2, n/2)
		p, code := stats.BestArm([]stats.Law{same, same, same}, false)
		for _, x := range p {
			if code != stats.OK || math.Abs(x-1.0/3) > 1e-10 {
				t.Errorf("n %g: %v", n, p)
			}
		}
	}
	a, b := stats.NormalLaw(0, 1), stats.NormalLaw(1, 2)
	got, _ := stats.Beats(b, a)
	if want := stats.NormalCDF(1 / math.Sqrt(5)); math.Abs(got-want) > 1e-12 {
		t.Errorf("normal: %v, want Φ(1/√5) = %v", got, want)
	}
	loss, _ := stats.ExpectedLoss(a, []stats.Law{b}, false)
	z := 1 / math.Sqrt(5)
	want := z*math.Sqrt(5)*stats.NormalCDF(z) + math.Sqrt(5)*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
	if math.Abs(loss-want) > 1e-10 {
		t.Errorf("loss %v, want %v", loss, want)
	}
}

func TestUpdatesAllocateNothing(t *testing.T) {
	var m stats.Moments
	var j stats.Joint
	if n := testing.AllocsPerRun(100, func() { m.Add(12); m.Merge(m); j.Add(3, 4); j.Merge(j) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
