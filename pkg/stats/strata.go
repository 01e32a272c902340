package stats

import "math"

// Stratum is one cell of a crossing of attributes from before the experiment,
// in both arms.
type Stratum struct {
	Control, Treatment Spread
}

// StrataKind is what the variables of a stratum's spreads are.
type StrataKind uint8

// The kinds, by variables: value; value and covariate; numerator and
// denominator; both with the same two before exposure.
const (
	StrataMean StrataKind = iota
	StrataMeanCovariate
	StrataRatio
	StrataRatioCovariates
)

// PostStratify is the effect with the arms weighted to one mix of strata:
// chance differences of the mix drop out of it (Miratrix, Sekhon, Yu 2013). A
// cell in which an arm is empty or does not vary joins the largest one. With
// covariates each cell fits Y ~ 1 + T + X by least squares.
//
//	ᾱ = Σ ν_k α_k;  Cov(ᾱ) = A(diag ν − ννᵀ)Aᵀ/N + Σ ν_k Σ_k/N
//
// with ν_k the share of cell k, α_k its (control, difference), Σ_k the
// covariance of those per unit. The degrees of freedom are not worked out: use
// ZTest.
func PostStratify(kind StrataKind, strata []Stratum, relative bool) (Effect, Code) {
	cells := mergeThin(kind, strata)
	if len(cells) == 0 {
		return Effect{}, NoUnits
	}
	var total float64
	for _, c := range cells {
		total += float64(c.Control.N + c.Treatment.N)
	}
	if total == 0 {
		return Effect{}, NoUnits
	}
	size := 2
	if kind >= StrataRatio {
		size = 4
	}
	alphas := make([][MaxVariables]float64, len(cells))
	shares := make([]float64, len(cells))
	var mean [MaxVariables]float64
	var cov [MaxVariables][MaxVariables]float64
	for k, c := range cells {
		shares[k] = float64(c.Control.N+c.Treatment.N) / total
		a, v, ok := cellEffect(kind, c)
		if !ok {
			return Effect{}, TooFewUnits
		}
		alphas[k] = a
		for i := range size {
			mean[i] += shares[k] * a[i]
			for j := range size {
				cov[i][j] += shares[k] * v[i][j] / total
			}
		}
	}
	for k := range cells { // A(diag ν − ννᵀ)Aᵀ is the covariance of α over cells
		for i := range size {
			for j := range size {
				cov[i][j] += shares[k] * (alphas[k][i] - mean[i]) * (alphas[k][j] - mean[j]) / total
			}
		}
	}
	estimate, g, code := strataGradient(kind, mean, relative)
	if code != OK {
		return Effect{}, code
	}
	var variance float64
	for i := range size {
		for j := range size {
			variance += g[i] * cov[i][j] * g[j]
		}
	}
	if !finite(estimate) || !finite(variance) {
		return Effect{}, BadInput
	}
	if !(variance > 0) {
		return Effect{Estimate: estimate}, ZeroVariance
	}
	return Effect{Estimate: estimate, SE: math.Sqrt(variance), DF: total - 2}, OK
}

// strataGradient is the effect of the weighted means, with its gradient.
func strataGradient(kind StrataKind, a [MaxVariables]float64, relative bool) (float64, [MaxVariables]float64, Code) {
	var g [MaxVariables]float64
	if kind < StrataRatio {
		if !relative {
			g[1] = 1
			return a[1], g, OK
		}
		if a[0] == 0 {
			return 0, g, ZeroBaseline
		}
		g[0], g[1] = -a[1]/(a[0]*a[0]), 1/a[0]
		return a[1] / math.Abs(a[0]), g, OK
	}
	m1, d1, m, d := a[0], a[2], a[0]+a[1], a[2]+a[3] // control, and control with the difference
	if d1 == 0 || d == 0 || (relative && m1 == 0) {
		return 0, g, ZeroBaseline
	}
	if !relative {
		g = [MaxVariables]float64{1/d - 1/d1, 1 / d, -m/(d*d) + m1/(d1*d1), -m / (d * d)}
		return m/d - m1/d1, g, OK
	}
	r := m / d * d1 / m1
	g = [MaxVariables]float64{r/m - r/m1, r / m, -r/d + r/d1, -r / d}
	return (r - 1) * math.Copysign(1, m1/d1), g, OK
}

// cellEffect is (control, difference), or those of numerator and denominator,
// with the covariance per unit of the cell.
func cellEffect(kind StrataKind, c Stratum) (a [MaxVariables]float64, v [MaxVariables][MaxVariables]float64, ok bool) {
	n := float64(c.Control.N + c.Treatment.N)
	switch kind {
	case StrataMeanCovariate:
		return regress(c, []int{0}, []int{1})
	case StrataRatioCovariates:
		return regress(c, []int{0, 1}, []int{2, 3})
	}
	outcomes := 1
	if kind == StrataRatio {
		outcomes = 2
	}
	fc, ft := n/float64(c.Control.N), n/float64(c.Treatment.N)
	for p := range outcomes {
		a[2*p], a[2*p+1] = c.Control.Mean[p], c.Treatment.Mean[p]-c.Control.Mean[p]
		for q := range outcomes {
			cc, ct := c.Control.Cov[p][q]*fc, c.Treatment.Cov[p][q]*ft
			v[2*p][2*q], v[2*p+1][2*q+1] = cc, cc+ct
			v[2*p][2*q+1], v[2*p+1][2*q] = -cc, -cc
		}
	}
	return a, v, true
}

// regress fits the outcomes on 1, T and the covariates, and takes control at
// the cell's mean covariates, whose own noise it adds.
func regress(c Stratum, outcomes, covariates []int) (a [MaxVariables]float64, v [MaxVariables][MaxVariables]float64, ok bool) {
	k := len(covariates)
	nc, nt := float64(c.Control.N), float64(c.Treatment.N)
	n := nc + nt
	// centred within the arms, the slopes are those of the full regression
	within := func(i, j int) float64 { return (nc-1)*c.Control.Cov[i][j] + (nt-1)*c.Treatment.Cov[i][j] }
	inverse, ok := invert(k, func(i, j int) float64 { return within(covariates[i], covariates[j]) })
	if !ok {
		return a, v, false
	}
	slopes := make([][2]float64, len(outcomes))
	for p, y := range outcomes {
		for i := range k {
			for j := range k {
				slopes[p][i] += inverse[i][j] * within(covariates[j], y)
			}
		}
	}
	pooled := Union(c.Control, c.Treatment)
	var shift, gap [2]float64 // of the covariates: control to the cell, control to treatment
	for i, x := range covariates {
		shift[i] = pooled.Mean[x] - c.Control.Mean[x]
		gap[i] = c.Treatment.Mean[x] - c.Control.Mean[x]
	}
	form := func(x, y [2]float64) (s float64) {
		for i := range k {
			for j := range k {
				s += x[i] * inverse[i][j] * y[j]
			}
		}
		return s
	}
	df := n - 3
	if len(outcomes) == 2 {
		df = n - 6
	}
	if !(df > 0) {
		return a, v, false
	}
	for p, y := range outcomes {
		a[2*p], a[2*p+1] = c.Control.Mean[y], c.Treatment.Mean[y]-c.Control.Mean[y]
		for i := range k {
			a[2*p] += slopes[p][i] * shift[i]
			a[2*p+1] -= slopes[p][i] * gap[i]
		}
	}
	for p, y := range outcomes {
		for q, z := range outcomes {
			residual := within(y, z)
			for i, x := range covariates {
				residual -= slopes[p][i] * within(x, z)
			}
			residual /= df
			// what the plugged-in mean covariates add to control
			var plugged, noise float64
			for i, x := range covariates {
				for j, w := range covariates {
					plugged += slopes[p][i] * pooled.Cov[x][w] / n * slopes[q][j]
					noise += pooled.Cov[x][w] / n * inverse[i][j]
				}
			}
			v[2*p][2*q] = n * (residual*(1/nc+form(shift, shift)+noise) + plugged)
			v[2*p+1][2*q+1] = n * residual * (1/nc + 1/nt + form(gap, gap))
			cross := n * residual * (-1/nc - form(shift, gap))
			v[2*p][2*q+1], v[2*p+1][2*q] = cross, cross
		}
	}
	return a, v, true
}

// invert a matrix of one or two rows.
func invert(k int, at func(i, j int) float64) (m [2][2]float64, ok bool) {
	if k == 1 {
		d := at(0, 0)
		m[0][0] = 1 / d
		return m, d > 0 && finite(1/d)
	}
	a, b, c := at(0, 0), at(0, 1), at(1, 1)
	d := a*c - b*b
	m = [2][2]float64{{c / d, -b / d}, {-b / d, a / d}}
	return m, d > 0 && finite(1/d)
}

// mergeThin puts cells that cannot stand alone into the largest.
func mergeThin(kind StrataKind, strata []Stratum) []Stratum {
	least := uint64(1)
	if kind == StrataRatioCovariates {
		least = 7
	}
	thin := func(s Stratum) bool {
		if s.Control.N < 2 || s.Treatment.N < 2 || s.Control.N+s.Treatment.N < least {
			return true
		}
		return s.Control.Cov[0][0] <= 0 || s.Treatment.Cov[0][0] <= 0
	}
	largest, most := -1, uint64(0)
	for i, s := range strata {
		if n := s.Control.N + s.Treatment.N; n > most {
			largest, most = i, n
		}
	}
	var out []Stratum
	var rest Stratum
	for i, s := range strata {
		if i == largest || thin(s) {
			rest.Control, rest.Treatment = Union(rest.Control, s.Control), Union(rest.Treatment, s.Treatment)
			continue
		}
		out = append(out, s)
	}
	if largest >= 0 {
		out = append(out, rest)
	}
	return out
}
