package stats_test

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/stats"
	"github.com/hypostream/hypostream/pkg/stats/growthbook"
)

// worked runs a line of docs/statistics.md: its numbers in, its results out.
var worked = map[string]func(x []float64) []float64{
	"welch.p": func(x []float64) []float64 {
		e, _ := stats.Absolute(fromDocs(x[:3]), fromDocs(x[3:]))
		_, p := stats.Welch(e, 0.05)
		return []float64{p}
	},
	"relative.low": func(x []float64) []float64 {
		e, _ := stats.Relative(fromDocs(x[:3]), fromDocs(x[3:]))
		i, _ := stats.Welch(e, 0.05)
		return []float64{i.Low}
	},
	"always.p": func(x []float64) []float64 {
		e, _ := stats.Relative(fromDocs(x[:3]), fromDocs(x[3:6]))
		_, p := stats.AlwaysValid(e, uint64(x[0]+x[3]), 0.05, x[6])
		return []float64{p}
	},
	"win": func(x []float64) []float64 {
		e, _ := stats.Relative(fromDocs(x[:3]), fromDocs(x[3:]))
		return []float64{stats.FlatPosterior(e, 0.05).Win}
	},
	"beta.beats": func(x []float64) []float64 {
		p, _ := stats.Beats(stats.BetaLaw(x[0], x[1]), stats.BetaLaw(x[2], x[3]))
		return []float64{p}
	},
	"holm": func(x []float64) []float64 { p, _ := stats.AdjustP(x, stats.Holm); return p },
	"srm.p": func(x []float64) []float64 {
		_, p := stats.SRM([]uint64{uint64(x[0]), uint64(x[1])}, x[2:])
		return []float64{p}
	},
	"mde": func(x []float64) []float64 {
		m, _ := stats.Plan{Mean: x[0], Variance: x[1]}.MDE(x[2])
		return []float64{m}
	},
}

func fromDocs(x []float64) stats.Summary {
	return growthbook.Statistic{Type: growthbook.Mean, N: uint64(x[0]), Variables: []growthbook.Sums{{Type: growthbook.Mean, Sum: x[1], SumSquares: x[2]}}}.Summary(0)
}

func numbers(s string) []float64 {
	var out []float64
	for _, f := range strings.Fields(s) {
		if x, err := strconv.ParseFloat(f, 64); err == nil {
			out = append(out, x)
		}
	}
	return out
}

func TestWorkedExamplesOfTheDocumentation(t *testing.T) {
	data, err := os.ReadFile("../../docs/statistics.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, block := range strings.Split(string(data), "```") {
		body, example := strings.CutPrefix(block, "example\n")
		if i%2 == 0 || !example {
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
			name := strings.Fields(line)[0]
			in, out, _ := strings.Cut(strings.TrimPrefix(line, name), "=")
			if worked[name] == nil {
				t.Errorf("nothing works out %q", line)
				continue
			}
			seen[name] = true
			got, want := worked[name](numbers(in)), numbers(out)
			if len(want) == 0 || len(got) != len(want) {
				t.Fatalf("%s: %v, want %v", line, got, want)
			}
			for k := range want {
				if math.Abs(got[k]-want[k]) > 1e-6*max(1, math.Abs(want[k])) {
					t.Errorf("%s: %v", line, got)
				}
			}
		}
	}
	if len(seen) != len(worked) {
		t.Errorf("the documentation works out %v", seen)
	}
}
