// Package wasabi works out rates as Wasabi did: Agresti–Coull rates, Wald
// differences, and a guard against peeking that is Bonferroni over the number
// of decisions.
package wasabi

import (
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
)

// DefaultDecisions is ln(10¹⁰): looks spaced evenly in the logarithm of the
// impressions.
const DefaultDecisions = 23.025850929940457

// Estimate with its interval.
type Estimate struct {
	Value, Low, High float64
}

// AgrestiCoull is the rate of x of n with the Agresti–Coull interval, kept in
// [0, 1] (Agresti, Coull 1998).
func AgrestiCoull(n, x uint64, confidence float64) Estimate {
	if n == 0 || !(confidence > 0 && confidence < 1) {
		return Estimate{}
	}
	z := critical(confidence)
	wide := float64(n) + z*z
	p := (float64(x) + z*z/2) / wide
	half := z * math.Sqrt(p*(1-p)/wide)
	return Estimate{float64(x) / float64(n), max(p-half, 0), min(p+half, 1)}
}

// Difference is rate 1 less rate 2 with the unpooled Wald interval.
func Difference(n1, x1, n2, x2 uint64, confidence float64) Estimate {
	if n1 == 0 || n2 == 0 || !(confidence > 0 && confidence < 1) {
		return Estimate{}
	}
	p1, p2 := float64(x1)/float64(n1), float64(x2)/float64(n2)
	half := critical(confidence) * math.Sqrt(p1*(1-p1)/float64(n1)+p2*(1-p2)/float64(n2))
	return Estimate{p1 - p2, p1 - p2 - half, p1 - p2 + half}
}

// DataNeeded is the units over both arms at which a difference of effect is
// significant; power is not asked for. Allocations are the arms' shares.
func DataNeeded(rate, allocation1, allocation2, effect, confidence float64) uint64 {
	z := critical(confidence)
	n := z * z * rate * (1 - rate) * (1/allocation1 + 1/allocation2) / (effect * effect)
	if math.IsNaN(n) || n > 1<<62 || n < 0 {
		return 0
	}
	return uint64(math.Round(n))
}

// ScaledZ is the critical value once the level is shared by the decisions.
func ScaledZ(confidence, decisions float64) float64 {
	return -stats.NormalQuantile((1 - confidence) / max(decisions, 1) / 2)
}

func critical(confidence float64) float64 { return -stats.NormalQuantile((1 - confidence) / 2) }
