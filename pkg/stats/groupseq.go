package stats

import (
	"math"
	"sort"
)

// GroupSequential gives the critical z of each look of a group-sequential design
// that spends α·t^power of its level by information time t (Lan, DeMets 1983;
// power 2 is a usual choice). information are the shares of the planned
// information at the looks, rising, the last at most 1. sides is 2 for a
// two-sided test, whose halves are spent apart; or 1.
//
// The density of the test's sum on the region in which it goes on is carried
// from look to look by Gauss–Legendre quadrature (Armitage, McPherson, Rowe
// 1969).
func GroupSequential(information []float64, alpha float64, sides int, power float64) ([]float64, Code) {
	if !(alpha > 0 && alpha < 1) || (sides != 1 && sides != 2) || !(power > 0) || len(information) == 0 {
		return nil, BadInput
	}
	before := 0.0
	for _, t := range information {
		if !(t > before) || t > 1+1e-12 {
			return nil, BadInput
		}
		before = t
	}
	level := alpha / float64(sides)
	out := make([]float64, 0, len(information))
	var x, f []float64 // nodes of the sum, and density times weight
	spent, last := 0.0, 0.0
	for _, t := range information {
		step := math.Sqrt(t - last)
		now := level * math.Pow(min(t, 1), power)
		crossing := func(c float64) float64 {
			if last == 0 {
				return NormalCDF(-c / step)
			}
			var p float64
			for i := range x {
				p += f[i] * NormalCDF((x[i]-c)/step)
			}
			return p
		}
		low, high := 0.0, 40*math.Sqrt(t)
		for range 200 {
			mid := (low + high) / 2
			if crossing(mid) > now-spent {
				low = mid
			} else {
				high = mid
			}
		}
		bound := (low + high) / 2
		out = append(out, bound/math.Sqrt(t))
		floor := -bound
		if sides == 1 {
			floor = -12 * math.Sqrt(t)
		}
		x, f = carry(x, f, step, last == 0, floor, min(bound, 12*math.Sqrt(t)))
		spent, last = now, t
	}
	return out, OK
}

// carry is the density after one more step, on [floor, ceiling].
func carry(x, f []float64, step float64, first bool, floor, ceiling float64) (nx, nf []float64) {
	r := rule()
	panels := int(math.Ceil((ceiling-floor)/(1.5*step))) + 1
	var ends []float64
	for i := range panels + 1 {
		ends = append(ends, floor+(ceiling-floor)*float64(i)/float64(panels))
	}
	sort.Float64s(ends)
	for p := 1; p < len(ends); p++ {
		mid, half := (ends[p]+ends[p-1])/2, (ends[p]-ends[p-1])/2
		for i := range r.x {
			y := mid + half*r.x[i]
			var d float64
			if first {
				d = normalPDF(y / step)
			}
			for j := range x {
				d += f[j] * normalPDF((y-x[j])/step)
			}
			nx, nf = append(nx, y), append(nf, half*r.w[i]*d/step)
		}
	}
	return nx, nf
}
