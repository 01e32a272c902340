// Package stats is numbers in, numbers out: from exact sums per arm to effects,
// intervals, p-values, posterior probabilities and the health of the split. It
// knows no experiment, does no I/O and draws no random number.
package stats

import (
	"math"
	"math/big"
	"math/bits"
)

// Moments are the exact sufficient statistics of one arm's metric: how many
// units (entities) there are, and the sum and the sum of squares of what each
// unit came to, in integers. They merge in any order and grouping to the same
// bits, and the variance cannot cancel away, since nothing is rounded before it
// is worked out.
//
// The zero value is an arm without units.
type Moments struct {
	N     uint64
	sum   wide
	sumSq wide
}

// Add counts one unit with the value v, in the caller's integer unit.
func (m *Moments) Add(v int64) {
	m.N++
	m.sum.add(fromInt(v))
	m.sumSq.add(square(v))
}

// Merge adds the units of other.
func (m *Moments) Merge(other Moments) {
	m.N += other.N
	m.sum.add(other.sum)
	m.sumSq.add(other.sumSq)
}

// FromSums makes Moments of sums that were worked out elsewhere; units that
// are in n and not in the sums count as zeros. Sums beyond 255 bits wrap, which
// 10⁹ units of any 64-bit values do not reach.
func FromSums(n uint64, sum, sumSq *big.Int) Moments {
	return Moments{N: n, sum: fromBig(sum), sumSq: fromBig(sumSq)}
}

// FromCounts makes the Moments of a proportion: k of n units did it.
func FromCounts(n, k uint64) Moments {
	return Moments{N: n, sum: wide{k}, sumSq: wide{k}}
}

// Sum is Σy, exact.
func (m Moments) Sum() *big.Int { return m.sum.big() }

// SumSq is Σy², exact.
func (m Moments) SumSq() *big.Int { return m.sumSq.big() }

// Summary works out mean and variance, with unit integer steps to one of the
// metric's units (1e6 for values in millionths, 1 for counts): rounded once
// each, at the end.
func (m Moments) Summary(unit float64) Summary {
	s := Summary{N: m.N}
	if m.N == 0 {
		return s
	}
	n := new(big.Int).SetUint64(m.N)
	sum := m.sum.big()
	s.Mean = quotient(sum, n) / unit
	if m.N < 2 {
		return s
	}
	// (n·Σy² − (Σy)²) / (n·(n−1))
	num := new(big.Int).Mul(n, m.sumSq.big())
	num.Sub(num, new(big.Int).Mul(sum, sum))
	den := new(big.Int).Mul(n, new(big.Int).Sub(n, big.NewInt(1)))
	s.Variance = quotient(num, den) / unit / unit
	return s
}

func quotient(a, b *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(a, b).Float64()
	return f
}

// Summary is an arm's metric as inference sees it.
type Summary struct {
	N        uint64
	Mean     float64
	Variance float64 // per unit, divisor n−1
}

// SE is the standard error of the mean, 0 without units.
func (s Summary) SE() float64 {
	if s.N == 0 {
		return 0
	}
	return math.Sqrt(s.Variance / float64(s.N))
}

// wide is a 256-bit two's complement integer, least word first: fixed size, so
// that counting allocates nothing.
type wide [4]uint64

func (w *wide) add(x wide) {
	var c uint64
	for i := range w {
		w[i], c = bits.Add64(w[i], x[i], c)
	}
}

func fromInt(v int64) wide {
	sign := uint64(v >> 63)
	return wide{uint64(v), sign, sign, sign}
}

func square(v int64) wide {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	hi, lo := bits.Mul64(u, u)
	return wide{lo, hi}
}

func fromBig(b *big.Int) wide {
	var w wide
	if b == nil {
		return w
	}
	abs := new(big.Int).Abs(b)
	mask := new(big.Int).SetUint64(math.MaxUint64)
	for i := range w {
		w[i] = new(big.Int).And(abs, mask).Uint64()
		abs.Rsh(abs, 64)
	}
	if b.Sign() < 0 {
		w.negate()
	}
	return w
}

func (w *wide) negate() {
	for i := range w {
		w[i] = ^w[i]
	}
	w.add(wide{1})
}

func (w wide) big() *big.Int {
	negative := w[3]>>63 == 1
	if negative {
		w.negate()
	}
	b := new(big.Int)
	for i := len(w) - 1; i >= 0; i-- {
		b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(w[i]))
	}
	if negative {
		b.Neg(b)
	}
	return b
}
