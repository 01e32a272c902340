package stats

import (
	"math"
	"sort"
)

// Correction names a way to keep a family of tests honest.
type Correction string

// The corrections. Holm, Hochberg, Hommel, Bonferroni and Sidak hold the chance
// of any false positive at α (Hochberg, Hommel and Sidak for independent or
// positively dependent tests); BenjaminiHochberg and BenjaminiYekutieli hold the
// share of false ones among the positives (the latter under any dependence).
const (
	NoCorrection       Correction = "none"
	Bonferroni         Correction = "bonferroni"
	Sidak              Correction = "sidak"
	Holm               Correction = "holm"
	Hochberg           Correction = "hochberg"
	Hommel             Correction = "hommel"
	BenjaminiHochberg  Correction = "bh"
	BenjaminiYekutieli Correction = "by"
)

// AdjustP gives the adjusted p-values of a family, in the order of the input;
// each is to be held against the unchanged α. A p that is no number counts as 1.
// An unknown correction is BadInput, and every p then 1.
func AdjustP(p []float64, how Correction) ([]float64, Code) {
	m := len(p)
	out := make([]float64, m)
	clean := make([]float64, m)
	for i, x := range p {
		clean[i] = 1
		if x >= 0 && x <= 1 {
			clean[i] = x
		}
	}
	order := make([]int, m)
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return clean[order[a]] < clean[order[b]] })
	k := float64(m)
	switch how {
	case NoCorrection, "":
		copy(out, clean)
	case Bonferroni:
		for i, x := range clean {
			out[i] = min(1, k*x)
		}
	case Sidak:
		for i, x := range clean {
			out[i] = -math.Expm1(k * math.Log1p(-x))
		}
	case Holm:
		worst := 0.0
		for r, i := range order {
			worst = max(worst, min(1, float64(m-r)*clean[i]))
			out[i] = worst
		}
	case Hochberg:
		stepUp(order, clean, out, func(rank int) float64 { return float64(m - rank) })
	case BenjaminiHochberg:
		stepUp(order, clean, out, func(rank int) float64 { return k / float64(rank+1) })
	case BenjaminiYekutieli:
		var c float64
		for i := 1; i <= m; i++ {
			c += 1 / float64(i)
		}
		stepUp(order, clean, out, func(rank int) float64 { return c * k / float64(rank+1) })
	case Hommel:
		hommel(order, clean, out)
	default:
		for i := range out {
			out[i] = 1
		}
		return out, BadInput
	}
	return out, OK
}

// stepUp is the running minimum from the largest p down.
func stepUp(order []int, p, out []float64, factor func(rank int) float64) {
	least := 1.0
	for r := len(order) - 1; r >= 0; r-- {
		least = min(least, factor(r)*p[order[r]])
		out[order[r]] = least
	}
}

// hommel is the shortcut of the closed test of Simes (Hommel 1988, in the form
// of Wright 1992).
func hommel(order []int, p, out []float64) {
	m := len(order)
	if m == 0 {
		return
	}
	s := make([]float64, m)
	for r, i := range order {
		s[r] = p[i]
	}
	base := math.Inf(1)
	for r := range s {
		base = min(base, float64(m)*s[r]/float64(r+1))
	}
	q := make([]float64, m)
	adjusted := make([]float64, m)
	for r := range q {
		q[r], adjusted[r] = base, base
	}
	for j := m - 1; j >= 2; j-- {
		simes := math.Inf(1)
		for r := m - j + 1; r < m; r++ {
			simes = min(simes, float64(j)*s[r]/float64(r-m+j+1))
		}
		for r := 0; r <= m-j; r++ {
			q[r] = min(float64(j)*s[r], simes)
		}
		for r := m - j + 1; r < m; r++ {
			q[r] = q[m-j]
		}
		for r := range q {
			adjusted[r] = max(adjusted[r], q[r])
		}
	}
	for r, i := range order {
		out[i] = min(1, max(adjusted[r], s[r]))
	}
}

// SimultaneousAlpha is the level at which each of m intervals has to be taken
// so that all hold together at 1−α. Only Bonferroni and Sidak have such
// intervals (Holm's rejections are at least Bonferroni's, so its intervals may be
// Bonferroni's); for the others ok is false: they adjust p-values alone.
func SimultaneousAlpha(alpha float64, m int, how Correction) (level float64, ok bool) {
	switch {
	case m < 1 || !(alpha > 0 && alpha < 1):
		return 0, false
	case how == NoCorrection || how == "":
		return alpha, true
	case how == Bonferroni || how == Holm:
		return alpha / float64(m), true
	case how == Sidak:
		return -math.Expm1(math.Log1p(-alpha) / float64(m)), true
	}
	return 0, false
}
