package assign_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/assign"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

type answer struct {
	Result         *bool   `json:"result"`
	Error          *string `json:"error"`
	Variant        string  `json:"variant"`
	OverrideReason *string `json:"override_reason"`
}

// askSDK gives the cases to the real SDK's code.
func askSDK(t *testing.T, cases []any) []answer {
	t.Helper()
	python := os.Getenv("HYPOSTREAM_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", ".venv", "bin", "python")
	}
	if err := exec.Command(python, "-c", "import os; os.environ['HT_ASYNC_MODE']='false'; import hypotest_python3_sdk").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no Python with hypotest-python3-sdk (make venv brings it): %v", err)
		}
		t.Skipf("no Python with hypotest-python3-sdk (make venv brings it): %v", err)
	}
	var in, errOut bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, c := range cases {
		if err := enc.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, filepath.Join("testdata", "oracle.py"))
	cmd.Stdin, cmd.Stderr = &in, &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("asking the SDK: %v\n%s", err, errOut.String())
	}
	var answers []answer
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var a answer
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(cases) {
		t.Fatalf("%d answers to %d cases", len(answers), len(cases))
	}
	return answers
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// text writes a random condition; most mean something.
func text(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(6) == 0 {
		return relation(r, depth)
	}
	switch r.IntN(6) {
	case 0:
		return text(r, depth-1) + " and " + text(r, depth-1)
	case 1:
		return text(r, depth-1) + " or " + text(r, depth-1)
	case 2:
		return "not " + text(r, depth-1)
	case 3:
		return "(" + text(r, depth-1) + ")"
	case 4:
		return pick(r, "vip", "True", "False", "not vip", "missing")
	}
	return relation(r, depth)
}

func relation(r *rand.Rand, depth int) string {
	s := operand(r, depth)
	for range 1 + r.IntN(4)/3 {
		op := pick(r, "==", "!=", "<", "<=", ">", ">=", "in", "not in", "==", "in")
		if strings.HasSuffix(op, "in") && r.IntN(4) > 0 {
			s += " " + op + " " + seq(r, depth)
		} else {
			s += " " + op + " " + operand(r, depth)
		}
	}
	return s
}

func seq(r *rand.Rand, depth int) string {
	var items []string
	for range r.IntN(4) {
		items = append(items, operand(r, depth-1))
	}
	body := strings.Join(items, pick(r, ",", ", "))
	if r.IntN(2) == 0 {
		return "[" + body + "]"
	}
	if len(items) == 1 {
		body += ","
	}
	return "(" + body + ")"
}

func operand(r *rand.Rand, depth int) string {
	switch r.IntN(12) {
	case 0, 1:
		return "country"
	case 2, 3:
		return "age"
	case 4:
		return "score"
	case 5:
		return pick(r, "vip", "big", "user_id", "visitor_id", "missing")
	case 6:
		return pick(r, "'fr'", `"de"`, "'f'", "''", `'it\'s'`, "'é'", "'a b'")
	case 7:
		return pick(r, "0", "1", "17", "18", "-1", "9007199254740993", "9223372036854775807")
	case 8:
		return pick(r, "0.0", "1.0", "17.5", "-0.0", "1e3", "1e999", "-2.5E-3", "9007199254740992.0", "9.3e18")
	case 9:
		return pick(r, "True", "False")
	case 10:
		if depth > 0 {
			return seq(r, depth-1)
		}
	}
	if depth > 0 {
		return "(" + text(r, depth-1) + ")"
	}
	return "age"
}

// TestConditionsMeanWhatTheyMeanToTheSDK evaluates random conditions here and
// by the SDK's own replacing and Python's own eval.
func TestConditionsMeanWhatTheyMeanToTheSDK(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"user_id", "country", "age", "score", "vip", "big", "missing"}
	type sdkCase struct {
		Condition string         `json:"condition"`
		TagNames  []string       `json:"tag_names"`
		Tags      map[string]any `json:"tags"`
		UserID    *string        `json:"user_id"`
		VisitorID *string        `json:"visitor_id"`
	}
	var cases []any
	var conditions []*assign.Condition
	refused := 0
	for len(cases) < 6000 {
		c := sdkCase{Condition: text(r, 3), TagNames: names, Tags: map[string]any{
			"country": pick(r, "fr", "de", "", "f", "é"), "age": pick[any](r, 0, 1, 17, 18, 9007199254740993, -1),
			"score": pick[any](r, 0.5, 17.5, -2.5, 1.0, 9007199254740992.0, 0.0), "vip": r.IntN(2) == 0, "big": int64(9223372036854775807),
		}}
		if r.IntN(8) == 0 { // types that were not meant
			c.Tags["age"], c.Tags["vip"] = pick[any](r, "18", true, 2.5), pick[any](r, 1, "yes", 0.0)
		}
		id := "u1"
		if r.IntN(2) == 0 {
			c.UserID = &id
		}
		parsed, err := assign.ParseCondition(c.Condition, names)
		if err != nil {
			refused++
			if refused > 20000 {
				t.Fatalf("nearly everything is refused, at last %s: %v", c.Condition, err)
			}
			continue
		}
		cases, conditions = append(cases, c), append(conditions, parsed)
	}
	results := map[string]int{}
	for i, a := range askSDK(t, cases) {
		c := cases[i].(sdkCase)
		got, err := conditions[i].Eval(func(name string) (event.TagValue, bool) {
			switch {
			case name == "user_id" && c.UserID != nil:
				return event.StringTag(*c.UserID), true
			case name == "user_id", name == "visitor_id":
				return event.TagValue{}, false
			}
			return tagOf(c.Tags[name])
		})
		switch {
		case a.Result == nil && err == nil:
			t.Errorf("%s with %v: %v here, the SDK says %s", c.Condition, c.Tags, got, *a.Error)
		case a.Result != nil && err != nil:
			t.Errorf("%s with %v: error %v here, the SDK says %v", c.Condition, c.Tags, err, *a.Result)
		case a.Result != nil && got != *a.Result:
			t.Errorf("%s with %v: %v here, the SDK says %v", c.Condition, c.Tags, got, *a.Result)
		}
		results[fmt.Sprint(got, err != nil)]++
	}
	// A generator that made only errors would prove nothing.
	for _, kind := range []string{"true false", "false false", "false true"} {
		if results[kind] < 500 {
			t.Errorf("of 6000 conditions only %d came out as %s: %v", results[kind], kind, results)
		}
	}
}

func tagOf(v any) (event.TagValue, bool) {
	switch v := v.(type) {
	case string:
		return event.StringTag(v), true
	case int:
		return event.IntTag(int64(v)), true
	case int64:
		return event.IntTag(v), true
	case float64:
		return event.FloatTag(v), true
	case bool:
		return event.BoolTag(v), true
	}
	return event.TagValue{}, false
}

func TestDrawsAsTheSDKsOwnCode(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	type definition struct {
		ID              int64    `json:"id"`
		Shares          [][2]any `json:"shares"`
		State           string   `json:"state"`
		Active          bool     `json:"active"`
		OverrideControl []string `json:"override_control"`
		OverrideB       []string `json:"override_b"`
		x               *experiment.Experiment
	}
	var definitions []definition
	for _, shares := range [][]experiment.Variant{
		{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}},
		{{Key: "b", Weight: 0.1}, {Key: "control", Weight: 0.9}},
		{{Key: "control", Weight: 0.34}, {Key: "b", Weight: 0.33}, {Key: "c", Weight: 0.33}},
		{{Key: "control", Weight: 0.1}, {Key: "x", Weight: 0.1}, {Key: "y", Weight: 0.1}, {Key: "z", Weight: 0.7}},
		{{Key: "control", Weight: 0.2}, {Key: "b", Weight: 0.2}},
		{{Key: "control", Weight: 0}, {Key: "b", Weight: 1}},
	} {
		for _, state := range []experiment.State{experiment.Running, experiment.Calibration, experiment.Stopped} {
			d := definition{ID: r.Int64N(1 << 31), State: "running", Active: state != experiment.Stopped, OverrideControl: []string{"id-1", "both"}, OverrideB: []string{"id-2", "both"}}
			if state == experiment.Calibration {
				d.State = "calibration"
			}
			for _, v := range shares {
				d.Shares = append(d.Shares, [2]any{v.Key, v.Weight})
			}
			d.x = &experiment.Experiment{ID: d.ID, State: state, Variants: shares, Overrides: map[string][]string{"control": d.OverrideControl, "b": d.OverrideB}}
			definitions = append(definitions, d)
		}
	}
	type drawCase struct {
		Experiment definition `json:"experiment"`
		UserID     *string    `json:"user_id"`
		VisitorID  *string    `json:"visitor_id"`
	}
	var cases []any
	for i := range 5000 {
		id := fmt.Sprintf("id-%d", i)
		switch i % 5 {
		case 1:
			id = fmt.Sprintf("%016x", r.Uint64())
		case 2:
			id = pick(r, "é", "日本", "🙂", "both", "x y") + fmt.Sprint(i)
		case 3:
			id = pick(r, "id-1", "id-2", "both")
		}
		c := drawCase{Experiment: definitions[r.IntN(len(definitions))]}
		other := "other"
		switch r.IntN(3) {
		case 0:
			c.UserID = &id
		case 1:
			c.VisitorID = &id
		default:
			c.UserID, c.VisitorID = &other, &id
		}
		cases = append(cases, c)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for i, want := range askSDK(t, cases) {
		c := cases[i].(drawCase)
		got := assign.HypoTest(c.Experiment.x, text(c.UserID), text(c.VisitorID))
		if got.Variant != want.Variant || got.Err != text(want.Error) || got.OverrideReason != text(want.OverrideReason) {
			t.Errorf("user %q, visitor %q, %+v: %+v here, the SDK says %s, %q, %q", text(c.UserID), text(c.VisitorID), c.Experiment, got,
				want.Variant, text(want.Error), text(want.OverrideReason))
		}
	}
}
