// Package assign draws variants as the SDKs of the systems we serve do, and
// evaluates the conditions that let an entity into an experiment. The server
// draws what the SDK draws, to the last id.
package assign

import (
	"math"
	"slices"
	"strconv"

	"github.com/twmb/murmur3"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// Assignment is what an SDK makes of one call.
type Assignment struct {
	Variant        string  // what is reported with the exposure
	Shown          string  // what the caller sees; in calibration always control
	Hash           uint32  // of the id and the experiment
	Fraction       float64 // the hash as a fraction of four digits, in [0, 1)
	OverrideReason string  // "" for a real draw
	Err            string  // what the SDK would report as its error
}

// The HypoTest SDK's constants.
const (
	hypoTestMagic = 9300000028840
	hypoTestSeed  = 1
)

// HypoTest draws as hypotest-python3-sdk 1.0.9 does: MurmurHash3 x86 32-bit
// of the id followed by decimal(9300000028840 + id of the experiment), seed 1,
// cut to four digits of a fraction; the first variant in declared order whose
// running total is not below it. The id is the visitor's, else the user's.
func HypoTest(x *experiment.Experiment, userID, visitorID string) Assignment {
	id := visitorID
	if id == "" {
		id = userID
	}
	a := Assignment{Hash: murmur3.SeedSum32(hypoTestSeed, strconv.AppendInt([]byte(id), hypoTestMagic+x.ID, 10))}
	a.Fraction = math.Floor(float64(a.Hash)/(1<<32)*10000) / 10000
	in := func(ids []string) bool {
		return userID != "" && slices.Contains(ids, userID) || visitorID != "" && slices.Contains(ids, visitorID)
	}
	hasB := slices.ContainsFunc(x.Variants, func(v experiment.Variant) bool { return v.Key == "b" })
	switch {
	case in(x.Overrides[experiment.ControlKey]):
		a.Variant, a.OverrideReason = experiment.ControlKey, "remote_override_control"
	case hasB && in(x.Overrides["b"]):
		a.Variant, a.OverrideReason = "b", "remote_override_b"
	default:
		a.Variant, a.Err = walk(x, a.Fraction)
		switch {
		case a.Err != "": // the SDK's last word
		case userID != "" && visitorID != "":
			a.Err = "both user_id and visitor_id where sent"
		case !x.Active():
			a.Err = "experiment is inactive"
		}
	}
	a.Shown = a.Variant
	if x.State == experiment.Calibration {
		a.Shown = experiment.ControlKey
	}
	return a
}

// walk adds the shares up in declared order, as floats, as the SDK does.
func walk(x *experiment.Experiment, fraction float64) (variant, err string) {
	total := 0.0
	for _, v := range x.Arms() {
		total += v.Weight
		if fraction <= total {
			return v.Key, ""
		}
	}
	return experiment.ControlKey, "this code should be unreachable"
}
