package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/stats"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() *report.Result {
	r := &report.Result{
		Project: "shop", Experiment: "checkout", Name: "One page or three", State: experiment.Running, Version: 3,
		Start: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Timezone: "Europe/Berlin",
		ComputedAt: time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC), Seconds: 0.5, Control: "control",
		Arms: []report.Arm{{Variant: "control", Weight: 0.5, Entities: 12_345, SetAside: 7}, {Variant: "b", Weight: 0.5, Entities: 12_401, SetAside: 9}},
		SRM:  report.SRM{Chi2: 0.13, P: 0.7186},
		Health: report.Health{
			Fallbacks: []report.Count{{Detail: "no settings", Events: 1200}}, Overridden: []report.Count{{Detail: "qa", Events: 3}},
			UnknownVariants: []report.Count{{Detail: "c", Events: 1}}, NoIDs: 2,
		},
	}
	r.Metrics = []report.Metric{
		{
			Key: "path", Kind: experiment.Funnel, Events: []string{"view", "buy"}, Window: "7d", Better: experiment.Increase,
			Arms: []report.MetricArm{
				{Variant: "control", N: 12_345, Value: 0.1, Interval: stats.Interval{Low: 0.09, High: 0.11}, Total: "1234", Converters: 1234,
					Steps: []report.Step{{Event: "view", Entities: 6000, Rate: 0.486, MedianSeconds: 42.5}, {Event: "buy", Entities: 1234, Rate: 0.1, MedianSeconds: 90_000}}},
				{Variant: "b", N: 12_401, Value: 0.12, Interval: stats.Interval{Low: 0.11, High: 0.13}, Total: "1488", Converters: 1488,
					Steps: []report.Step{{Event: "view", Entities: 6100, Rate: 0.4919, MedianSeconds: 600}, {Event: "buy", Entities: 1488, Rate: 0.12, MedianSeconds: 260_000}}},
			},
			Comparisons: []stats.Comparison{{Name: "b", Absolute: 0.02, AbsoluteInterval: stats.Interval{Low: 0.012, High: 0.028}, Relative: 0.2,
				RelativeInterval: stats.Interval{Low: 0.12, High: 0.28}, P: 4e-7, AlwaysP: 0.0001, Win: 0.9999, Decision: stats.Better}},
		},
		{
			Key: "refunds", Kind: experiment.Sum, Events: []string{"refund"}, Better: experiment.Decrease,
			Arms:        []report.MetricArm{{Variant: "control", N: 12_345, Total: "0"}, {Variant: "b", N: 12_401, Value: 0.0123, Total: "152.53"}},
			Comparisons: []stats.Comparison{{Name: "b", Absolute: 0.0123, AbsoluteInterval: stats.Interval{Low: -0.001, High: 0.026}, RelativeCode: stats.ZeroBaseline, P: 0.08, AlwaysP: 1, Win: 0.04, Decision: stats.Inconclusive}},
		},
		{
			Key: "logins", Kind: experiment.Count, Events: []string{"login"}, Better: experiment.Increase,
			Arms:        []report.MetricArm{{Variant: "control", N: 12_345, Total: "0"}, {Variant: "b", N: 12_401, Total: "0"}},
			Comparisons: []stats.Comparison{{Name: "b", P: 1, AlwaysP: 1, Win: 0.5, Decision: stats.NotYet, Code: stats.ZeroVariance}},
		},
	}
	return r
}

func TestRenderings(t *testing.T) {
	broken := sample()
	broken.SRM = report.SRM{Chi2: 40, P: 2.5e-10, Mismatch: true}
	broken.Name, broken.End = "", time.Time{}
	tests := []struct {
		name   string
		r      *report.Result
		render func(io.Writer, *report.Result) error
	}{
		{"table.txt", sample(), report.Table},
		{"table_of_a_broken_split.txt", broken, report.Table},
		{"result.json", sample(), report.JSON},
		{"result.csv", sample(), report.CSV},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := tt.render(&got, tt.r); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", tt.name)
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("go test -update writes it anew:\n%s", d)
			}
			if strings.HasSuffix(tt.name, ".txt") {
				for line := range strings.Lines(got.String()) {
					if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > 100 {
						t.Errorf("%d columns, a terminal has 100: %s", n, line)
					}
				}
			}
		})
	}
}

func TestJSONReadsBackAsItWas(t *testing.T) {
	var b bytes.Buffer
	if err := report.JSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var got report.Result
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), &got); d != "" {
		t.Error(d)
	}
}

func TestEveryCSVLineHasEveryColumn(t *testing.T) {
	var b bytes.Buffer
	if err := report.CSV(&b, sample()); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll() // refuses lines of different lengths
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 3*2; len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	for _, l := range lines[1:] {
		if v, err := strconv.ParseFloat(l[7], 64); err != nil || v < 0 {
			t.Errorf("value %q: %v", l[7], err)
		}
	}
}

func TestDecimalsAreExact(t *testing.T) {
	tests := []struct {
		micro int64
		want  string
	}{
		{0, "0"}, {1, "0.000001"}, {-1, "-0.000001"}, {1_000_000, "1"}, {-2_500_000, "-2.5"}, {123_456_789, "123.456789"},
		{9_223_372_036_854_775_807, "9223372036854.775807"},
	}
	for _, tt := range tests {
		if got := report.Decimal(big.NewInt(tt.micro)); got != tt.want {
			t.Errorf("%d millionths are %s, want %s", tt.micro, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "millionths")
		r, ok := new(big.Rat).SetString(report.Decimal(big.NewInt(n)))
		if !ok || r.Cmp(big.NewRat(n, 1_000_000)) != 0 {
			t.Fatalf("%d reads back as %v", n, r)
		}
	})
}
