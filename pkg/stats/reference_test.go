package stats_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hypostream/hypostream/pkg/stats"
	"github.com/hypostream/hypostream/pkg/stats/growthbook"
)

// python finds an interpreter that has the libraries to compare with.
func python(t *testing.T) string {
	t.Helper()
	for _, at := range []string{os.Getenv("HYPOSTREAM_STATS_PYTHON"), "../../.venv-stats/bin/python", "../../.venv/bin/python", os.Getenv("HYPOSTREAM_PYTHON")} {
		if at == "" {
			continue
		}
		if abs, err := filepath.Abs(at); err == nil && exec.Command(abs, "-c", "import scipy, statsmodels, gbstats").Run() == nil {
			return abs
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Python with scipy, statsmodels and gbstats: see deploy/python-stats-requirements.txt")
	}
	t.Skip("no Python with scipy, statsmodels and gbstats: see deploy/python-stats-requirements.txt")
	return ""
}

type reference struct {
	Do       string    `json:"do"`
	X        []float64 `json:"x,omitempty"`
	How      string    `json:"how,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Relative bool      `json:"relative"`
	A        *refArm   `json:"a,omitempty"`
	B        *refArm   `json:"b,omitempty"`

	ours []float64
	// floor below which a difference does not count, per case; and the
	// relative tolerance where 1e-8 does not hold
	floor, rel float64
}

type refSums struct {
	N       uint64  `json:"n"`
	Sum     float64 `json:"sum"`
	Squares float64 `json:"squares"`
}

type refArm struct {
	X  refSums `json:"x"`
	Y  refSums `json:"y"`
	XY float64 `json:"xy"`
}

func logUniform(r *rand.Rand, low, high float64) float64 {
	return math.Exp(math.Log(low) + r.Float64()*(math.Log(high)-math.Log(low)))
}

// randomArm are sums that n correlated pairs could have. Means are positive: over
// a negative baseline the released gbstats divides by the mean, not by its size.
func randomArm(r *rand.Rand) refArm {
	n := math.Floor(logUniform(r, 4, 1e7))
	mx, my := 0.1+math.Abs(r.NormFloat64())*10, 1+r.Float64()*10
	sx, sy := logUniform(r, 0.01, 100), logUniform(r, 0.01, 3)
	rho := r.Float64()*1.8 - 0.9
	sums := func(m, s float64) refSums { return refSums{uint64(n), n * m, n*m*m + (n-1)*s*s} }
	return refArm{sums(mx, sx), sums(my, sy), n*mx*my + (n-1)*rho*sx*sy}
}

func (a refArm) arm(kind string) growthbook.Statistic {
	v := func(s refSums) growthbook.Sums {
		return growthbook.Sums{Type: growthbook.Mean, Sum: s.Sum, SumSquares: s.Squares}
	}
	out := growthbook.Statistic{Type: growthbook.Type(kind), N: a.X.N, Variables: []growthbook.Sums{v(a.X), v(a.Y)}}
	if kind == "mean" {
		out.Variables = out.Variables[:1]
	}
	out.Products[0][1], out.Products[1][0] = a.XY, a.XY
	return out
}

func TestAgreesWithReferenceLibraries(t *testing.T) {
	if testing.Short() {
		t.Skip("compares with libraries in Python: left out of short runs")
	}
	interpreter := python(t)
	many := 500
	if os.Getenv("CI") == "true" || os.Getenv("HYPOSTREAM_REFERENCE") == "full" {
		many = 5000
	}
	r := rand.New(rand.NewPCG(1, 2))
	tests := []struct {
		name string
		make func() reference
	}{
		{"t tails, down to 1e-300", func() reference {
			x, df := logUniform(r, 1e-3, 60), logUniform(r, 1, 1e7)
			return reference{Do: "t_sf", X: []float64{x, df}, ours: []float64{2 * stats.StudentCDF(-x, df)}, floor: 1e-300}
		}},
		{"t quantiles", func() reference {
			p, df := logUniform(r, 1e-10, 0.49), logUniform(r, 1, 1e7)
			return reference{Do: "t_ppf", X: []float64{p, df}, ours: []float64{stats.StudentQuantile(p, df)}}
		}},
		{"normal", func() reference {
			z, p := r.NormFloat64()*12, r.Float64()
			return reference{Do: "norm", X: []float64{z, p}, ours: []float64{stats.NormalCDF(z), stats.NormalQuantile(p)}, floor: 1e-300}
		}},
		{"χ² tails", func() reference {
			x, k := logUniform(r, 1e-3, 1300), float64(1+r.IntN(10))
			return reference{Do: "chi2", X: []float64{x, k}, ours: []float64{stats.ChiSquaredSurvival(x, k)}, floor: 1e-290}
		}},
		{"Beta quantiles", func() reference {
			a, b, p := logUniform(r, 0.5, 1e6), logUniform(r, 0.5, 1e6), []float64{0.025, 0.5, 0.975}[r.IntN(3)]
			return reference{Do: "beta", X: []float64{a, b, p}, ours: []float64{stats.BetaLaw(a, b).Quantile(p)}}
		}},
		{"Gamma quantiles", func() reference {
			k, p := logUniform(r, 0.5, 1e6), []float64{0.025, 0.5, 0.975}[r.IntN(3)]
			return reference{Do: "gamma", X: []float64{k, p}, ours: []float64{stats.GammaLaw(k, 1).Quantile(p)}}
		}},
		{"Welch from means and deviations", func() reference {
			n1, n2 := math.Floor(logUniform(r, 2, 1e9)), math.Floor(logUniform(r, 2, 1e9))
			s1, s2 := logUniform(r, 1e-3, 1e3), logUniform(r, 1e-3, 1e3)
			m1 := r.NormFloat64()
			m2 := m1 + r.NormFloat64()*5*math.Sqrt(s1*s1/n1+s2*s2/n2)
			e, _ := stats.Absolute(stats.Summary{N: uint64(n1), Mean: m1, Variance: s1 * s1}, stats.Summary{N: uint64(n2), Mean: m2, Variance: s2 * s2})
			_, p := stats.Welch(e, 0.05)
			return reference{Do: "welch", X: []float64{m1, s1, n1, m2, s2, n2}, ours: []float64{p}}
		}},
		{"adjusted p-values", func() reference {
			how := []stats.Correction{stats.Holm, stats.Hochberg, stats.Hommel, stats.BenjaminiHochberg, stats.BenjaminiYekutieli, stats.Sidak, stats.Bonferroni}[r.IntN(7)]
			p := make([]float64, 1+r.IntN(12))
			for i := range p {
				p[i] = math.Pow(r.Float64(), 3)
				if i > 0 && r.IntN(5) == 0 {
					p[i] = p[i-1] // ties
				}
			}
			ours, _ := stats.AdjustP(p, how)
			return reference{Do: "adjust", X: p, How: string(how), ours: ours}
		}},
		{"gbstats", func() reference {
			kind := []string{"mean", "ratio", "cuped"}[r.IntN(3)]
			a, b := randomArm(r), randomArm(r)
			// The released gbstats leaves the covariance of the adjusted difference with
			// its unadjusted denominator out; the vectors hold the later, full formula.
			relative := r.IntN(2) == 0 && kind != "cuped"
			c, d := a.arm(kind), b.arm(kind)
			test, err := growthbook.TTest(c, d, relative, stats.TwoSided, 0.05)
			seq, _ := growthbook.Sequential(c, d, relative, stats.TwoSided, 0.05, 5000)
			post, _ := growthbook.Bayesian(c, d, relative, stats.Prior{}, 0.05, false)
			x := reference{Do: "gbstats", floor: 1e-290, Kind: kind, Relative: relative, A: &a, B: &b,
				ours: []float64{test.Estimate, *test.Low, *test.High, *seq.Low, *seq.High, seq.P, post.Win, post.Interval.Low, post.Interval.High}}
			if err != growthbook.None {
				x.ours = []float64{0, 0, 0, 0, 0, 1, 0.5, 0, 0}
			}
			return x
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in bytes.Buffer
			var all []reference
			for range many {
				x := tt.make()
				all = append(all, x)
				line, err := json.Marshal(x)
				if err != nil {
					t.Fatal(err)
				}
				in.Write(append(line, '\n'))
			}
			cmd := exec.Command(interpreter, "testdata/reference.py")
			cmd.Stdin, cmd.Stderr = &in, os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(bytes.NewReader(out))
			bad, worst := 0, 0.0
			for _, x := range all {
				if !lines.Scan() {
					t.Fatal("answers are missing")
				}
				var theirs []float64
				if err := json.Unmarshal(lines.Bytes(), &theirs); err != nil || len(theirs) != len(x.ours) {
					t.Fatalf("%s: %v", lines.Text(), err)
				}
				// sums lose digits where they cancel: intervals are compared on their own scale
				scale := 0.0
				if x.Do == "gbstats" {
					scale = math.Abs(theirs[4] - theirs[3])
				}
				for i := range theirs {
					near := scale
					if i >= 5 && i <= 6 {
						near = 0
					}
					d := math.Abs(x.ours[i]-theirs[i]) / max(math.Abs(theirs[i]), near, 1e-300)
					if math.Abs(theirs[i]) < x.floor && math.Abs(x.ours[i]) < 10*x.floor {
						continue
					}
					worst = max(worst, d)
					if !(d <= max(1e-8, x.rel)) {
						if bad++; bad <= 5 {
							line, _ := json.Marshal(x)
							t.Errorf("number %d of %s: ours %.17g, theirs %.17g (%.1e)", i, line, x.ours[i], theirs[i], d)
						}
					}
				}
			}
			t.Logf("%d cases, %d beyond 1e-8, largest difference %.1e", many, bad, worst)
		})
	}
}
