// Command stats simulates experiments whose truth is known, with fixed seeds,
// and prints how often package stats is wrong: false positives over many looks,
// coverage of intervals, and what the anytime SRM needs. Its table is in
// docs/statistics.md.
package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"

	"github.com/hypostream/hypostream/pkg/stats"
)

const (
	looks   = 100
	perLook = 100 // units to an arm between looks
)

func main() {
	runs := flag.Int("runs", 1000, "experiments to a figure")
	flag.Parse()
	fmt.Printf("%d experiments to a figure, seed 1; Monte Carlo error of a share p is √(p(1−p)/%d)\n\n", *runs, *runs)
	fmt.Printf("| metric | false positives, 100 looks, fixed p | the same, always-valid p | coverage of the 95 %% interval |\n|---|---|---|---|\n")
	for _, m := range metrics {
		fixed, always, covered := peek(m, *runs)
		fmt.Printf("| %s | %.1f %% | %.1f %% | %.1f %% |\n", m.name, 100*fixed, 100*always, 100*covered)
	}
	fmt.Println()
	alarms := 0
	for run := range *runs {
		if found(rand.New(rand.NewPCG(3, uint64(run))), 0.5, 1000, 1000) > 0 {
			alarms++
		}
	}
	fmt.Printf("anytime SRM, right split, 1,000 looks of 1,000 units: %d of %d raised p < 0.001\n", alarms, *runs)
	var needs []int
	for run := range *runs {
		if at := found(rand.New(rand.NewPCG(4, uint64(run))), 0.51, 1000, 1000); at > 0 {
			needs = append(needs, at)
		}
	}
	sort.Ints(needs)
	if len(needs) > 0 {
		fmt.Printf("51 : 49 for 50 : 50: found in %d of %d, after %d looks (thousands of units) by the median, %d by the ninth tenth\n",
			len(needs), *runs, needs[len(needs)/2], needs[len(needs)*9/10])
	}
}

type metric struct {
	name string
	kind stats.Kind
	draw func(r *rand.Rand) []int64 // one unit
}

var metrics = []metric{
	{name: "proportion (5 %)", kind: stats.Proportion, draw: func(r *rand.Rand) []int64 {
		if r.Float64() < 0.05 {
			return []int64{1}
		}
		return []int64{0}
	}},
	{name: "mean (log-normal)", kind: stats.Mean, draw: func(r *rand.Rand) []int64 { return []int64{int64(1e6 * math.Exp(r.NormFloat64()))} }},
	{name: "ratio (value per event)", kind: stats.Ratio, draw: func(r *rand.Rand) []int64 {
		events := 1 + r.IntN(5)
		var v int64
		for range events {
			v += int64(1000 * r.ExpFloat64())
		}
		return []int64{v, int64(events)}
	}},
	{name: "mean with covariate (ρ 0.7)", kind: stats.Mean, draw: func(r *rand.Rand) []int64 {
		x := r.NormFloat64()
		return []int64{int64(1e6 * (5 + 0.7*x + math.Sqrt(0.51)*r.NormFloat64())), int64(1e6 * (5 + x))}
	}},
	{name: "quantile (0.9 of a log-normal)", kind: stats.Quantile, draw: func(r *rand.Rand) []int64 { return []int64{int64(1e6 * math.Exp(r.NormFloat64()))} }},
}

// peek looks at A/A experiments, and says how often some look was significant,
// and whether the last interval held zero.
func peek(m metric, runs int) (fixed, always, covered float64) {
	for run := range runs {
		r := rand.New(rand.NewPCG(1, uint64(run)))
		var arms [2]stats.Joint
		var values [2][]float64
		var fp, ap bool
		var last stats.Comparison
		for range looks {
			for a := range arms {
				for range perLook {
					v := m.draw(r)
					if m.kind == stats.Quantile {
						values[a] = append(values[a], float64(v[0]))
					} else {
						arms[a].Add(v...)
					}
				}
			}
			in := []stats.Arm{{Joint: &arms[0]}, {Joint: &arms[1]}}
			if m.kind == stats.Quantile {
				for a := range in {
					sort.Float64s(values[a])
					q := quantile(values[a])
					in[a] = stats.Arm{Quantile: &q}
				}
			}
			last = stats.Analyze(m.kind, in, stats.Settings{}).Comparisons[0]
			fp = fp || last.P < 0.05
			ap = ap || last.AlwaysP < 0.05
		}
		fixed += count(fp)
		always += count(ap)
		covered += count(last.AbsoluteInterval.Low <= 0 && last.AbsoluteInterval.High >= 0)
	}
	n := float64(runs)
	return fixed / n, always / n, covered / n
}

func count(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func quantile(sorted []float64) stats.QuantileSample {
	n := float64(len(sorted))
	low, high := stats.QuantileLevels(0.9, n, 0.05)
	at := func(p float64) float64 {
		x := p * (n - 1)
		i := int(x)
		if i+1 >= len(sorted) {
			return sorted[len(sorted)-1]
		}
		return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
	}
	return stats.QuantileSample{N: uint64(len(sorted)), Nu: 0.9, Value: at(0.9), Low: at(low), High: at(high)}
}

// found is the first look at which the anytime SRM alarms, 0 if none.
func found(r *rand.Rand, share float64, looks, units int) int {
	var counts [2]uint64
	for look := 1; look <= looks; look++ {
		// units draws of a coin, by the normal law: exact enough at a thousand
		k := math.Round(float64(units)*share + r.NormFloat64()*math.Sqrt(float64(units)*share*(1-share)))
		counts[0] += uint64(k)
		counts[1] += uint64(float64(units) - k)
		if _, p := stats.AnytimeSRM(counts[:], []float64{1, 1}, 0); p < 0.001 {
			return look
		}
	}
	return 0
}
