package stats

import "gonum.org/v1/gonum/stat/distuv"

// SRM is the χ² test of whether the units fell into the arms as the weights
// say: a sample-ratio mismatch means that some units are missing, and that no
// other number of the experiment can be trusted. Arms of weight 0 are left out;
// weights need not add up to one. With fewer than two arms left p is 1.
func SRM(counts []uint64, weights []float64) (chi2, p float64) {
	var total, weight float64
	arms := 0
	for i, w := range weights {
		if w > 0 && i < len(counts) {
			total += float64(counts[i])
			weight += w
			arms++
		}
	}
	if arms < 2 || total == 0 {
		return 0, 1
	}
	for i, w := range weights {
		if w > 0 && i < len(counts) {
			want := total * w / weight
			d := float64(counts[i]) - want
			chi2 += d * d / want
		}
	}
	return chi2, distuv.ChiSquared{K: float64(arms - 1)}.Survival(chi2)
}
