package stats

import (
	"math"
	"math/big"
	"math/bits"
)

// MaxVariables is how many variables of a unit a Joint holds.
const MaxVariables = 4

// Joint are the exact sufficient statistics of up to four variables of a unit
// together: the sums, and the sums of the products of every pair. Two of them
// are a ratio (numerator, denominator) or a value with its covariate; four are
// a ratio with the covariates of both (numerator, denominator, and the same
// before exposure). Like Moments it merges in any order to the same bits.
type Joint struct {
	N     uint64
	k     int
	sum   [MaxVariables]wide
	cross [MaxVariables * (MaxVariables + 1) / 2]wide
}

// pair is where the products of variables i and j are summed.
func pair(i, j int) int {
	if i < j {
		i, j = j, i
	}
	return i*(i+1)/2 + j
}

// Add counts one unit with the values v, each in its own integer unit; values
// beyond MaxVariables are left out, and every unit has as many as the first.
func (j *Joint) Add(v ...int64) {
	v = v[:min(len(v), MaxVariables)]
	j.N++
	j.k = max(j.k, len(v))
	for a := range v {
		j.sum[a].add(fromInt(v[a]))
		for b := 0; b <= a; b++ {
			j.cross[pair(a, b)].add(product(v[a], v[b]))
		}
	}
}

// Merge adds the units of other.
func (j *Joint) Merge(other Joint) {
	j.N += other.N
	j.k = max(j.k, other.k)
	for i := range j.sum {
		j.sum[i].add(other.sum[i])
	}
	for i := range j.cross {
		j.cross[i].add(other.cross[i])
	}
}

// JointFromSums makes a Joint of sums that were worked out elsewhere: sums[i]
// is Σ of variable i; cross holds Σ of the products in the order 00, 10, 11,
// 20, 21, 22, 30, … (so of two variables: Σx², Σxy, Σy²).
func JointFromSums(n uint64, sums, cross []*big.Int) Joint {
	j := Joint{N: n, k: min(len(sums), MaxVariables)}
	for i := range j.k {
		j.sum[i] = fromBig(sums[i])
	}
	for i := range min(len(cross), len(j.cross)) {
		j.cross[i] = fromBig(cross[i])
	}
	return j
}

// Spread works out means and covariances (divisor n−1), units[i] integer steps
// to one of variable i (1 where units are fewer). Each number is rounded once.
func (j Joint) Spread(units ...float64) Spread {
	s := Spread{N: j.N}
	if j.N == 0 {
		return s
	}
	unit := func(i int) float64 {
		if i < len(units) && units[i] != 0 {
			return units[i]
		}
		return 1
	}
	n := new(big.Int).SetUint64(j.N)
	den := new(big.Int).Mul(n, new(big.Int).Sub(n, big.NewInt(1)))
	var sums [MaxVariables]*big.Int
	for a := range j.k {
		sums[a] = j.sum[a].big()
		s.Mean[a] = quotient(sums[a], n) / unit(a)
		if j.N < 2 {
			continue
		}
		for b := 0; b <= a; b++ {
			num := new(big.Int).Mul(n, j.cross[pair(a, b)].big())
			num.Sub(num, new(big.Int).Mul(sums[a], sums[b]))
			s.Cov[a][b] = quotient(num, den) / unit(a) / unit(b)
			s.Cov[b][a] = s.Cov[a][b]
		}
	}
	return s
}

// product is a·b in full.
func product(a, b int64) wide {
	ua, ub := uint64(a), uint64(b)
	if a < 0 {
		ua = -ua
	}
	if b < 0 {
		ub = -ub
	}
	hi, lo := bits.Mul64(ua, ub)
	w := wide{lo, hi}
	if (a < 0) != (b < 0) {
		w.negate()
	}
	return w
}

// Spread is an arm's variables as inference sees them: means, and covariances
// per unit.
type Spread struct {
	N    uint64
	Mean [MaxVariables]float64
	Cov  [MaxVariables][MaxVariables]float64
}

// form is gᵀ·Cov·h.
func (s Spread) form(g, h [MaxVariables]float64) float64 {
	var v float64
	for i := range g {
		for j := range h {
			if g[i] != 0 && h[j] != 0 {
				v += g[i] * s.Cov[i][j] * h[j]
			}
		}
	}
	return v
}

// Ratio is variable 0 over variable 1, of the sums, with its variance per unit
// by the delta method:
//
//	σM²/D² + σD²·M²/D⁴ − 2·cov·M/D³
//
// A denominator of mean 0 gives mean and variance 0. Retention is a ratio too:
// units that came back over units that started.
func (s Spread) Ratio() Summary {
	m, d := s.Mean[0], s.Mean[1]
	if d == 0 {
		return Summary{N: s.N}
	}
	g := [MaxVariables]float64{1 / d, -m / (d * d)}
	return Summary{N: s.N, Mean: m / d, Variance: s.form(g, g)}
}

// Variable is variable i by itself.
func (s Spread) Variable(i int) Summary {
	return Summary{N: s.N, Mean: s.Mean[i], Variance: s.Cov[i][i]}
}

// Correlation of variables i and j, 0 where one does not vary.
func (s Spread) Correlation(i, j int) float64 {
	v := s.Cov[i][i] * s.Cov[j][j]
	if !(v > 0) {
		return 0
	}
	return s.Cov[i][j] / math.Sqrt(v)
}

// Union is the spread of the units of all arms thrown together, differences
// between the arms included.
func Union(arms ...Spread) Spread {
	var u Spread
	for _, s := range arms {
		u.N += s.N
	}
	if u.N == 0 {
		return u
	}
	n := float64(u.N)
	for _, s := range arms {
		for i := range u.Mean {
			u.Mean[i] += s.Mean[i] * (float64(s.N) / n)
		}
	}
	if u.N < 2 {
		return u
	}
	for _, s := range arms {
		if s.N == 0 {
			continue
		}
		for i := range u.Mean {
			for j := range u.Mean {
				between := float64(s.N) * (s.Mean[i] - u.Mean[i]) * (s.Mean[j] - u.Mean[j])
				u.Cov[i][j] += (float64(s.N-1)*s.Cov[i][j] + between) / (n - 1)
			}
		}
	}
	return u
}
