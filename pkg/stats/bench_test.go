package stats_test

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/stats"
)

func meanArms(k int) []stats.Arm {
	arms := make([]stats.Arm, k)
	for a := range arms {
		for i := range int64(1000) {
			arms[a].Moments.Add((i*7919+int64(a))%1_000_000 + 1)
		}
		arms[a].Unit = 1e6
	}
	return arms
}

func BenchmarkTenBetaArms(b *testing.B) {
	laws := make([]stats.Law, 10)
	for i := range laws {
		laws[i] = stats.BetaLaw(float64(500+10*i), float64(9500-10*i))
	}
	b.ReportAllocs()
	for b.Loop() {
		stats.BestArm(laws, false)
		stats.ExpectedLoss(laws[9], laws[:9], false)
	}
}

// 1,000 metrics of five arms, with the p-values of them all adjusted together.
func BenchmarkThousandMetrics(b *testing.B) {
	arms := meanArms(5)
	for b.Loop() {
		var p []float64
		for range 1000 {
			for _, c := range stats.Analyze(stats.Mean, arms, stats.Settings{}).Comparisons {
				p = append(p, c.P)
			}
		}
		stats.AdjustP(p, stats.Holm)
	}
}
