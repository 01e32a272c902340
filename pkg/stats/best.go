package stats

// BestArm gives for each law the probability that it is the greatest of all,
// exactly, by quadrature; laws are independent and of one family. lowerIsBetter
// asks for the least.
//
//	∫ f_i Π_{j≠i} F_j dx
func BestArm(laws []Law, lowerIsBetter bool) ([]float64, Code) {
	out := make([]float64, len(laws))
	if c := sameFamily(laws); c != OK {
		for i := range out {
			out[i] = 1 / float64(len(laws))
		}
		return out, c
	}
	if len(laws) == 1 {
		out[0] = 1
		return out, OK
	}
	g := newGrid(laws)
	k := len(laws)
	above := make([]float64, k+1)
	for n := range g.u {
		// products of all but one, from both sides: no division
		above[k] = 1
		for i := k - 1; i > 0; i-- {
			above[i] = above[i+1] * beaten(g.cdf[i][n], lowerIsBetter)
		}
		below := g.weight[n]
		for i := range laws {
			out[i] += below * above[i+1] * g.pdf[i][n]
			below *= beaten(g.cdf[i][n], lowerIsBetter)
		}
	}
	var sum float64
	for _, p := range out {
		sum += p
	}
	for i := range out {
		out[i] /= sum // 1 but for rounding
	}
	return out, OK
}

func beaten(cdf float64, lowerIsBetter bool) float64 {
	if lowerIsBetter {
		return 1 - cdf
	}
	return cdf
}

// Beats is the probability that a is greater than b.
func Beats(a, b Law) (float64, Code) {
	p, code := BestArm([]Law{a, b}, false)
	return p[0], code
}

// ExpectedLoss is what choosing chosen is expected to cost against the best of
// the others, in the metric's unit: E[max(0, max_O X − X_t)].
//
//	∫ F_t·(1 − Π_{j∈O} F_j) dx
func ExpectedLoss(chosen Law, others []Law, lowerIsBetter bool) (float64, Code) {
	laws := append([]Law{chosen}, others...)
	if c := sameFamily(laws); c != OK {
		return 0, c
	}
	if len(others) == 0 {
		return 0, OK
	}
	g := newGrid(laws)
	var loss float64
	for n := range g.u {
		_, slope := chosen.x(g.u[n])
		product := 1.0
		if lowerIsBetter { // X_t − min X: the mirror image
			for _, cdf := range g.cdf[1:] {
				product *= 1 - cdf[n]
			}
			loss += g.weight[n] * slope * (1 - g.cdf[0][n]) * (1 - product)
			continue
		}
		for _, cdf := range g.cdf[1:] {
			product *= cdf[n]
		}
		loss += g.weight[n] * slope * g.cdf[0][n] * (1 - product)
	}
	return max(loss, 0), OK
}

func sameFamily(laws []Law) Code {
	if len(laws) == 0 {
		return NoUnits
	}
	for _, l := range laws {
		if !l.valid() || l.family != laws[0].family {
			return BadInput
		}
	}
	return OK
}

// BanditWeights turns the probabilities of being best into shares of traffic,
// none below floor: f + (1 − kf)·p, and equal shares where k·f ≥ 1.
func BanditWeights(best []float64, floor float64) []float64 {
	out := make([]float64, len(best))
	k := float64(len(best))
	floor = max(floor, 0)
	for i, p := range best {
		if k*floor >= 1 {
			out[i] = 1 / k
		} else {
			out[i] = floor + (1-k*floor)*p
		}
	}
	return out
}
