package hypotest

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// AppendSettings appends the answer of GET /v1/all_series_tests: every
// experiment that is served, with all eleven keys that the SDKs ask for and
// the shares in declared order, in which the SDKs walk them. Stopped and
// archived experiments stay in it as inactive: a running SDK never forgets one
// that it has seen.
func AppendSettings(dst []byte, experiments []*experiment.Experiment) []byte {
	dst = append(dst, `{"tests": {`...)
	first := true
	for _, x := range experiments {
		if !x.Served() {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = appendTest(dst, x)
	}
	return append(dst, "}}\n"...)
}

func appendTest(b []byte, x *experiment.Experiment) []byte {
	b = quote(b, x.Key)
	b = append(b, `: {"test_id": `...)
	b = strconv.AppendInt(b, x.ID, 10)
	b = append(b, `, "test_name": `...)
	b = quote(b, x.Key)
	b = append(b, `, "experiment_hypothesis": `...)
	b = quote(b, x.Hypothesis)
	b = append(b, `, "tag_names": `...)
	b = list(b, x.Targeting.Tags)
	b = append(b, `, "condition_to_enter_test": `...)
	if x.Targeting.Condition == "" {
		b = append(b, `"True"`...)
	} else {
		b = quote(b, x.Targeting.Condition)
	}
	b = append(b, `, "variants_distribution": {`...)
	for i, v := range x.Variants {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = quote(b, v.Key)
		b = append(b, ": "...)
		b = strconv.AppendFloat(b, v.Weight, 'g', -1, 64) // shortest form that reads back as the same double
	}
	b = append(b, `}, "goal_names": `...)
	b = list(b, x.Events())
	if x.State == experiment.Calibration {
		b = append(b, `, "test_state": "calibration"`...)
	} else {
		b = append(b, `, "test_state": "running"`...)
	}
	b = append(b, `, "test_active": `...)
	b = strconv.AppendBool(b, x.Active())
	b = append(b, `, "override_control": `...)
	b = list(b, x.Overrides[experiment.ControlKey])
	b = append(b, `, "override_b": `...)
	b = list(b, x.Overrides["b"])
	return append(b, '}')
}

func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its error is about invalid UTF-8, which it has replaced
	return b
}

func list(b []byte, items []string) []byte {
	b = append(b, '[')
	for i, s := range items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = quote(b, s)
	}
	return append(b, ']')
}
