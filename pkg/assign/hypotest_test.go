package assign_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypostream/hypostream/pkg/assign"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// settings are the SDK's, as it was recorded with them; the shares' order
// counts, so they are read token by token.
type settings struct {
	ID              int64           `json:"test_id"`
	State           string          `json:"test_state"`
	Active          bool            `json:"test_active"`
	Shares          json.RawMessage `json:"variants_distribution"`
	OverrideControl []string        `json:"override_control"`
	OverrideB       []string        `json:"override_b"`
}

func (s settings) experiment(t *testing.T) *experiment.Experiment {
	t.Helper()
	x := &experiment.Experiment{ID: s.ID, State: experiment.State(s.State), Overrides: map[string][]string{"control": s.OverrideControl, "b": s.OverrideB}}
	if !s.Active {
		x.State = experiment.Stopped
	}
	dec := json.NewDecoder(bytes.NewReader(s.Shares))
	dec.Token()
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		w, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		x.Variants = append(x.Variants, experiment.Variant{Key: k.(string), Weight: w.(float64)})
	}
	return x
}

func TestDrawsAsTheSDKWasRecorded(t *testing.T) {
	var vectors struct {
		Settings struct {
			Tests map[string]settings `json:"tests"`
		} `json:"settings_used"`
		Assignment []struct {
			Experiment, ID, Variant string
			Hash                    uint32 `json:"hash_uint32"`
			Fraction                float64
			Error                   *string
			OverrideReason          *string `json:"override_reason"`
		} `json:"assignment"`
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "specs", "hypotest-vectors.json"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("the recorded vectors are not here: %v", err)
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Assignment) < 200 {
		t.Fatalf("only %d recorded draws", len(vectors.Assignment))
	}
	for _, v := range vectors.Assignment {
		d, ok := vectors.Settings.Tests[v.Experiment]
		if !ok {
			t.Fatalf("no settings for %s", v.Experiment)
		}
		x := d.experiment(t)
		a := assign.HypoTest(x, v.ID, "")
		want := assign.Assignment{Variant: v.Variant, Shown: a.Shown, Hash: v.Hash, Fraction: v.Fraction}
		if v.Error != nil {
			want.Err = *v.Error
		}
		if v.OverrideReason != nil {
			want.OverrideReason = *v.OverrideReason
		}
		if a != want {
			t.Errorf("%s, id %q: drew %+v, recorded %+v", v.Experiment, v.ID, a, want)
		}
		if x.State == experiment.Calibration && a.Shown != "control" {
			t.Errorf("%s, id %q: calibration shows %s", v.Experiment, v.ID, a.Shown)
		}
	}
}
