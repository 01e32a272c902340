package stats

import (
	"math"
)

// AnytimeSRM is the always-valid form of SRM: the Bayes factor of a
// Dirichlet–multinomial alternative, centred on the weights, against the
// weights themselves (Lindon, Malek 2022). The counts may be looked at after
// every unit: under the right split the chance that p ever falls to α is at
// most α. concentration says how near the weights the alternative lies; 0 is
// DefaultConcentration. As a history is not kept, p is that of this look; the
// least p over the looks so far is valid as well.
//
//	ln BF = ln B(c·w + n) − ln B(c·w) − Σ n_i ln w_i,  p = min(1, 1/BF)
func AnytimeSRM(counts []uint64, weights []float64, concentration float64) (logBF, p float64) {
	if !(concentration > 0) {
		concentration = DefaultConcentration
	}
	var total, weight float64
	arms := 0
	for i, w := range weights {
		if w > 0 && i < len(counts) {
			total += float64(counts[i])
			weight += w
			arms++
		}
	}
	if arms < 2 || total == 0 || !finite(weight) {
		return 0, 1
	}
	logBF = -risen(concentration, total)
	for i, w := range weights {
		if w > 0 && i < len(counts) {
			share, n := w/weight, float64(counts[i])
			logBF += risen(concentration*share, n) - n*math.Log(share)
		}
	}
	return logBF, min(1, math.Exp(-logBF))
}

// DefaultConcentration of AnytimeSRM: the alternative puts shares within about
// 1.6 points of one half.
const DefaultConcentration = 1000

// risen is ln Γ(a+n) − ln Γ(a).
func risen(a, n float64) float64 {
	x, _ := math.Lgamma(a + n)
	y, _ := math.Lgamma(a)
	return x - y
}

// SRMMinimum is how many units each arm is to expect before SRM is judged.
const SRMMinimum = 8

// Imbalance tests whether arms differ in a covariate from before the
// experiment, as SRM tests their sizes: the least p over the arms against
// control, and the level that it is to be held to among tests of it (arms − 1
// times the metrics looked at).
func Imbalance(arms []Summary, metrics int) (p, level float64, code Code) {
	tests := max(1, (len(arms)-1)*max(1, metrics))
	p, level = 1, 0.001/float64(tests)
	if len(arms) < 2 {
		return p, level, NoUnits
	}
	for _, a := range arms[1:] {
		e, c := Absolute(arms[0], a)
		if c != OK {
			code = c
			continue
		}
		p = min(p, TTest(e, 0, 0.05, TwoSided).P)
	}
	return p, level, code
}

// MultipleExposure is the share of units that were seen in more than one arm,
// and whether it is unhealthy: 1 % or more of at least ten units.
func MultipleExposure(multiple, total uint64) (share float64, unhealthy bool) {
	if total == 0 {
		return 0, false
	}
	share = float64(min(multiple, total)) / float64(total)
	return share, share >= 0.01 && total >= 10
}
