package stats

import (
	"math"
	"sort"
	"sync"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// Law is the posterior of one arm's value: Normal, Beta (a rate, after k of n:
// Beta(prior+k, prior+n−k)) or Gamma (events per unit of exposure).
type Law struct {
	family family
	a, b   float64 // mean, sd | α, β | shape, rate
}

type family uint8

const (
	normalFamily family = iota
	betaFamily
	gammaFamily
)

// NormalLaw is N(mean, sd²).
func NormalLaw(mean, sd float64) Law { return Law{normalFamily, mean, sd} }

// BetaLaw is Beta(α, β).
func BetaLaw(alpha, beta float64) Law { return Law{betaFamily, alpha, beta} }

// GammaLaw is Gamma with shape and rate.
func GammaLaw(shape, rate float64) Law { return Law{gammaFamily, shape, rate} }

// Mean of the law.
func (l Law) Mean() float64 {
	switch l.family {
	case betaFamily:
		return l.a / (l.a + l.b)
	case gammaFamily:
		return l.a / l.b
	}
	return l.a
}

// CDF is P(X ≤ x).
func (l Law) CDF(x float64) float64 {
	switch l.family {
	case betaFamily:
		return mathext.RegIncBeta(l.a, l.b, clip(x, 0, 1))
	case gammaFamily:
		return mathext.GammaIncReg(l.a, l.b*max(x, 0))
	}
	return NormalCDF((x - l.a) / l.b)
}

// Quantile is x with P(X ≤ x) = p.
func (l Law) Quantile(p float64) float64 {
	switch l.family {
	case betaFamily:
		return distuv.Beta{Alpha: l.a, Beta: l.b}.Quantile(p)
	case gammaFamily:
		return mathext.GammaIncRegInv(l.a, p) / l.b
	}
	return l.a + l.b*NormalQuantile(p)
}

// Credible is the equal-tailed 1−α interval.
func (l Law) Credible(alpha float64) Interval {
	return Interval{l.Quantile(alpha / 2), l.Quantile(1 - alpha/2)}
}

func (l Law) valid() bool {
	if !finite(l.a) || !finite(l.b) || !(l.b > 0) {
		return false
	}
	return l.family == normalFamily || l.a > 0
}

// The integrals run over u with x = u (normal), logit⁻¹(u) (beta) or exp(u)
// (gamma): there every density is smooth, of one hump and thin-tailed, however
// small its parameters.

// mode is where the density in u peaks.
func (l Law) mode() float64 {
	switch l.family {
	case betaFamily:
		return math.Log(l.a / l.b)
	case gammaFamily:
		return math.Log(l.a / l.b)
	}
	return l.a
}

// log is the logarithm of the density in u over that at its mode, d from it.
func (l Law) log(d float64) float64 {
	switch l.family {
	case betaFamily:
		if d > 0 { // the far side of the same form, which cannot overflow
			return -l.b*d - (l.a+l.b)*math.Log1p(l.b/(l.a+l.b)*math.Expm1(-d))
		}
		return l.a*d - (l.a+l.b)*math.Log1p(l.a/(l.a+l.b)*math.Expm1(d))
	case gammaFamily:
		return l.a * (d - math.Expm1(d))
	}
	z := d / l.b
	return -z * z / 2
}

// x is the value at u, and dx/du.
func (l Law) x(u float64) (x, slope float64) {
	switch l.family {
	case betaFamily:
		e := math.Exp(-math.Abs(u))
		slope = e / (1 + e) / (1 + e)
		if u < 0 {
			return e / (1 + e), slope
		}
		return 1 / (1 + e), slope
	case gammaFamily:
		x = math.Exp(u)
		return x, x
	}
	return u, 1
}

// reach is how far from the mode, on the side of sign, the density has fallen
// by e⁻ᵈᵉᵖᵗʰ.
func (l Law) reach(sign float64) float64 {
	low, high := 0.0, 1.0
	if l.family == normalFamily {
		return math.Sqrt(2*depth) * l.b
	}
	for l.log(sign*high) > -depth {
		low, high = high, 2*high
	}
	for low == 0 && l.log(sign*high/2) < -depth {
		high /= 2
	}
	for range 12 {
		mid := (low + high) / 2
		if l.log(sign*mid) > -depth {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

const (
	depth = 75 // densities are followed down to e⁻⁷⁵ of their peak
	nodes = 16 // Gauss–Legendre nodes to a panel
)

// cuts, as shares of reach, between panels.
var cuts = [...]float64{0, 0.07, 0.14, 0.22, 0.3, 0.4, 0.55, 0.75, 1}

// grid is one set of nodes for several laws, with each law's density and
// distribution function there. Reached by one pass of panels from the left, the
// distribution functions cost no more than the densities.
type grid struct {
	u, weight []float64
	pdf, cdf  [][]float64 // per law, per node; normalised
}

func newGrid(laws []Law) grid {
	var ends []float64
	for _, l := range laws {
		m, left, right := l.mode(), l.reach(-1), l.reach(1)
		for _, c := range cuts {
			ends = append(ends, m-c*left, m+c*right)
		}
	}
	sort.Float64s(ends)
	ends = thin(ends, laws)
	r := rule()
	var g grid
	for p := 1; p < len(ends); p++ {
		mid, half := (ends[p]+ends[p-1])/2, (ends[p]-ends[p-1])/2
		for i := range r.x {
			g.u = append(g.u, mid+half*r.x[i])
			g.weight = append(g.weight, half*r.w[i])
		}
	}
	for _, l := range laws {
		m := l.mode()
		pdf, cdf := make([]float64, len(g.u)), make([]float64, len(g.u))
		total := 0.0
		for p := 1; p < len(ends); p++ {
			half := (ends[p] - ends[p-1]) / 2
			at := (p - 1) * nodes
			f := pdf[at : at+nodes]
			any := false
			for i := range f {
				d := g.u[at+i] - m
				if e := l.log(d); e > -700 {
					f[i] = math.Exp(e)
					any = true
				}
			}
			if !any {
				for i := range f {
					cdf[at+i] = total
				}
				continue
			}
			for i := range f {
				var s float64
				for j := range f {
					s += r.to[i][j] * f[j]
				}
				cdf[at+i] = total + half*s
			}
			for i := range f {
				total += g.weight[at+i] * f[i]
			}
		}
		for i := range pdf {
			pdf[i] /= total
			cdf[i] = clip(cdf[i]/total, 0, 1)
		}
		g.pdf, g.cdf = append(g.pdf, pdf), append(g.cdf, cdf)
	}
	return g
}

// thin drops ends that lie closer together than any density needs.
func thin(ends []float64, laws []Law) []float64 {
	type span struct{ low, high, step float64 }
	var spans []span
	for _, l := range laws {
		m, left, right := l.mode(), l.reach(-1), l.reach(1)
		spans = append(spans, span{m - left, m + right, 0.06 * min(left, right)})
	}
	out := ends[:1]
	last := len(ends) - 1
	for i := 1; i <= last; i++ {
		step := math.Inf(1)
		for _, s := range spans {
			if ends[i] > s.low && out[len(out)-1] < s.high {
				step = min(step, s.step)
			}
		}
		if i == last || (!math.IsInf(step, 1) && ends[i]-out[len(out)-1] >= step) || (math.IsInf(step, 1) && ends[i] > out[len(out)-1]) {
			out = append(out, ends[i])
		}
	}
	return out
}

// quadrature is a Gauss–Legendre rule on [−1, 1], with the weights that
// integrate from −1 to each node.
type quadrature struct {
	x, w [nodes]float64
	to   [nodes][nodes]float64
}

var rule = sync.OnceValue(func() *quadrature {
	var q quadrature
	for i := range nodes {
		x := math.Cos(math.Pi * (float64(i) + 0.75) / (nodes + 0.5))
		var slope float64
		for range 100 {
			p := legendre(x)
			slope = nodes * (x*p[nodes] - p[nodes-1]) / (x*x - 1)
			step := p[nodes] / slope
			x -= step
			if math.Abs(step) < 1e-16 {
				break
			}
		}
		q.x[nodes-1-i] = x
		q.w[nodes-1-i] = 2 / ((1 - x*x) * slope * slope)
	}
	// the interpolating polynomial is Σ (2k+1)/2·w_j·P_k(x_j)·P_k; integrate P_k
	for i := range nodes {
		pi := legendre(q.x[i])
		for j := range nodes {
			pj := legendre(q.x[j])
			s := 0.5 * (q.x[i] + 1)
			for k := 1; k < nodes; k++ {
				s += 0.5 * pj[k] * (pi[k+1] - pi[k-1])
			}
			q.to[i][j] = q.w[j] * s
		}
	}
	return &q
})

func legendre(x float64) [nodes + 1]float64 {
	p := [nodes + 1]float64{1, x}
	for k := 1; k < nodes; k++ {
		p[k+1] = (float64(2*k+1)*x*p[k] - float64(k)*p[k-1]) / float64(k+1)
	}
	return p
}
