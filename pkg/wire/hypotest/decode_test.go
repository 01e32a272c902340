package hypotest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/wire"
	"github.com/hypostream/hypostream/pkg/wire/hypotest"
)

var opts = cmp.Options{cmp.AllowUnexported(event.TagValue{})}

func decode(t *testing.T, body string) *wire.Batch {
	t.Helper()
	b := new(wire.Batch)
	if err := hypotest.Decode([]byte(body), "p", b); err != nil {
		t.Fatalf("decoding: %v", err)
	}
	return b
}

// 2026-11-21 00:11:34 UTC is 1795219894 s: 20778 days since 1970 (56 years of
// 365 days, 14 leap days, and 324 days to 21 November) × 86400 + 694.
const second = int64(1795219894)

var sdkTags = []event.Tag{{Key: "sdk_type", Value: event.StringTag("python3")}, {Key: "sdk_version", Value: event.StringTag("1.0.9")}}

func TestRecordedEventsBecomeTheseEvents(t *testing.T) {
	if got := time.Unix(second, 0).UTC().Format(time.DateTime); got != "2026-11-21 00:11:34" {
		t.Fatalf("the test's own second is %s", got)
	}
	const tags = `"tags_name_value": {"sdk_version": "1.0.9", "sdk_type": "python3"}`
	tests := []struct {
		name, event string
		want        event.Event
	}{
		{
			"a visit by a user",
			`{"time": "2026-11-21 00:11:34.760592", "event_type": "visit", "user_id": "u1", "visitor_id": null, "variant": "control", "test_name": "area/two", ` + tags + `}`,
			event.Event{Kind: event.Exposure, UserID: "u1", Time: second*1e6 + 760592, Experiment: "area/two", Variant: "control", Tags: sdkTags},
		},
		{
			"a visit with tags of every type",
			`{"time": "2026-11-21 00:11:34.763093", "event_type": "visit", "user_id": null, "visitor_id": "v1", "variant": "b", "test_name": "area/two", "tags_name_value": {"country": "fr", "n": 3, "f": 1.5, "b": true, "x": null}}`,
			event.Event{Kind: event.Exposure, VisitorID: "v1", Time: second*1e6 + 763093, Experiment: "area/two", Variant: "b", Tags: []event.Tag{
				{Key: "b", Value: event.BoolTag(true)}, {Key: "country", Value: event.StringTag("fr")}, {Key: "f", Value: event.FloatTag(1.5)}, {Key: "n", Value: event.IntTag(3)}}},
		},
		{
			"an overridden visit",
			`{"time": "2026-11-21 00:11:34.765512", "event_type": "visit", "user_id": "u1", "visitor_id": null, "variant": "b", "test_name": "area/two", "tags_name_value": {"override_reason": "local_override_b", "sdk_version": "1.0.9", "sdk_type": "python3"}}`,
			event.Event{Kind: event.Exposure, UserID: "u1", Time: second*1e6 + 765512, Experiment: "area/two", Variant: "b", OverrideReason: "local_override_b", Tags: sdkTags},
		},
		{
			"a fallback is marked as one",
			`{"time": "2026-11-21 00:11:34.773646", "event_type": "visit", "user_id": "u1", "visitor_id": null, "variant": "control", "test_name": "area/nosuch", "ht_sdk_error": "did not retrieved the settings in time", ` + tags + `}`,
			event.Event{Kind: event.Exposure, UserID: "u1", Time: second*1e6 + 773646, Experiment: "area/nosuch", Variant: "control", SDKError: "did not retrieved the settings in time", Flags: event.Fallback, Tags: sdkTags},
		},
		{
			"both ids is an error that carries a real draw",
			`{"time": "2026-11-21 00:11:34.771555", "event_type": "visit", "user_id": "u1", "visitor_id": "v1", "variant": "b", "test_name": "area/two", "ht_sdk_error": "both user_id and visitor_id where sent", ` + tags + `}`,
			event.Event{Kind: event.Exposure, UserID: "u1", VisitorID: "v1", Time: second*1e6 + 771555, Experiment: "area/two", Variant: "b", SDKError: "both user_id and visitor_id where sent", Tags: sdkTags},
		},
		{
			"a goal with a value",
			`{"user_id": null, "visitor_id": "12", "time": "2026-11-21 00:11:34.791866", "event_type": "goal", "goal_name": "g", "goal_value": 39.9, ` + tags + `}`,
			event.Event{Kind: event.KPI, VisitorID: "12", Time: second*1e6 + 791866, Name: "g", ValueMicro: 39_900_000, Tags: sdkTags},
		},
		{
			"a goal whose value is text",
			`{"user_id": "u1", "visitor_id": null, "time": "2026-11-21 00:11:34.793679", "event_type": "goal", "goal_name": "g", "goal_value": "12", ` + tags + `}`,
			event.Event{Kind: event.KPI, UserID: "u1", Time: second*1e6 + 793679, Name: "g", ValueMicro: 12_000_000, Tags: sdkTags},
		},
		{
			"a goal of nobody",
			`{"user_id": null, "visitor_id": null, "time": "2026-11-21 00:11:34.792786", "event_type": "goal", "goal_name": "g", "goal_value": 1.0, "ht_sdk_error": "goal was sent without user_id and visitor_id", ` + tags + `}`,
			event.Event{Kind: event.KPI, Time: second*1e6 + 792786, Name: "g", ValueMicro: 1_000_000, SDKError: "goal was sent without user_id and visitor_id", Tags: sdkTags},
		},
		{
			"a match",
			`{"user_id": "u1", "visitor_id": "v1", "time": "2026-11-21 00:11:34.795496", "event_type": "match_user_visitor", "context": "signup", ` + tags + `}`,
			event.Event{Kind: event.Match, UserID: "u1", VisitorID: "v1", Time: second*1e6 + 795496, Context: "signup", Tags: sdkTags},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := decode(t, `{"events": [`+tt.event+`]}`)
			if len(b.Refused) > 0 {
				t.Fatalf("refused: %v", b.Refused[0].Err)
			}
			tt.want.Project = "p"
			if d := cmp.Diff([]event.Event{tt.want}, b.Events, opts); d != "" {
				t.Error(d)
			}
		})
	}
}

// Every body that the SDK was recorded sending is taken: what it sends to our
// server is one event that is accepted, or refused for what is said here.
func TestRecordedTrafficIsTaken(t *testing.T) {
	var vectors struct {
		Traffic []struct {
			Call     string `json:"call"`
			Requests []struct {
				Method, Body string
			} `json:"requests"`
		} `json:"traffic"`
	}
	readShared(t, "hypotest-vectors.json", &vectors)
	refused := map[string]string{
		"kpi_event('g', user_id='u1', value=float('nan'))": "goal_value",
		"match_user_visitor(None,'v1')":                    "user_id",
	}
	n := 0
	for _, call := range vectors.Traffic {
		for _, r := range call.Requests {
			if r.Method != "POST" {
				continue
			}
			n++
			b := decode(t, r.Body)
			if b.Total != 1 {
				t.Errorf("%s: %d events, want 1", call.Call, b.Total)
			}
			field, bad := refused[call.Call]
			switch {
			case bad && (len(b.Refused) != 1 || b.Refused[0].Err.Field != field):
				t.Errorf("%s: refusals %v, want one for %s", call.Call, b.Refused, field)
			case !bad && len(b.Events) != 1:
				t.Errorf("%s: refused: %v", call.Call, b.Refused[0].Err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d recorded requests were found", n)
	}
}

func TestOneBadEventSpoilsNoOther(t *testing.T) {
	good := func(id string) string {
		return `{"event_type": "goal", "goal_name": "g", "user_id": "` + id + `", "time": "2026-11-21 00:11:34.760592"}`
	}
	tests := []struct {
		name, bad, field string
		reason           event.Reason
	}{
		{"NaN", `{"event_type": "goal", "goal_name": "g", "user_id": "NaN", "goal_value": NaN}`, "goal_value", event.ReasonValue},
		{"minus infinity", `{"event_type": "goal", "goal_name": "g", "user_id": "u", "goal_value": -Infinity}`, "goal_value", event.ReasonValue},
		{"infinity in a tag", `{"event_type": "goal", "goal_name": "g", "user_id": "u", "tags_name_value": {"a": Infinity}}`, "tags_name_value.a", event.ReasonValue},
		{"a value that is an object", `{"event_type": "goal", "goal_name": "g", "user_id": "u", "goal_value": {}}`, "goal_value", event.ReasonType},
		{"an unknown type", `{"event_type": "party", "user_id": "u"}`, "event_type", event.ReasonUnknown},
		{"no type", `{"user_id": "u"}`, "event_type", event.ReasonMissing},
		{"no object", `"seven"`, "events", event.ReasonType},
		{"an id over 512 bytes", `{"event_type": "goal", "goal_name": "g", "user_id": "` + strings.Repeat("u", 513) + `"}`, "user_id", event.ReasonTooLong},
		{"a time that is none", `{"event_type": "goal", "goal_name": "g", "user_id": "u", "time": "2026-02-30 00:00:00.000000"}`, "time", event.ReasonValue},
		{"a tag that is a list", `{"event_type": "goal", "goal_name": "g", "user_id": "u", "tags_name_value": {"a": [1]}}`, "tags_name_value.a", event.ReasonType},
		{"a match without a visitor", `{"event_type": "match_user_visitor", "user_id": "u"}`, "visitor_id", event.ReasonMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"events": [` + good("a") + `, ` + tt.bad + `, ` + good("b") + `]}`
			b := decode(t, body)
			if len(b.Events) != 2 || b.Events[0].UserID != "a" || b.Events[1].UserID != "b" {
				t.Fatalf("the good events are %+v", b.Events)
			}
			if len(b.Refused) != 1 {
				t.Fatalf("%d refusals, want 1", len(b.Refused))
			}
			r := b.Refused[0]
			if r.Index != 1 || r.Err.Field != tt.field || r.Err.Reason != tt.reason || r.Offset != int64(strings.Index(body, tt.bad)) {
				t.Errorf("refusal %d at %d: %+v", r.Index, r.Offset, r.Err)
			}
		})
	}
}

// Every day of 801 years, and what is no time, as the standard library has it.
func TestTimesAreReadAsTheStandardLibraryDoes(t *testing.T) {
	read := func(text string) (int64, bool) {
		b := decode(t, `{"events": [{"event_type": "goal", "goal_name": "g", "user_id": "u", "time": "`+text+`"}]}`)
		if len(b.Events) == 1 {
			return b.Events[0].Time, true
		}
		return 0, false
	}
	for day := time.Date(1599, 12, 31, 23, 59, 58, 1000, time.UTC); day.Year() < 2401; day = day.AddDate(0, 0, 1) {
		if got, ok := read(day.Format("2006-01-02 15:04:05.000000")); !ok || got != day.UnixMicro() {
			t.Fatalf("%s is %d (%t), want %d", day, got, ok, day.UnixMicro())
		}
	}
	for year := 1896; year <= 2004; year++ {
		for month := 1; month <= 12; month++ {
			for day := 28; day <= 32; day++ {
				text := fmt.Sprintf("%04d-%02d-%02d 00:00:00.000000", year, month, day)
				_, err := time.Parse("2006-01-02 15:04:05.000000", text)
				if _, ok := read(text); ok != (err == nil) {
					t.Errorf("%s: accepted %t, want %t", text, ok, err == nil)
				}
			}
		}
	}
	for _, text := range []string{"2026-13-01 00:00:00.000000", "2026-00-01 00:00:00.000000", "2026-01-00 00:00:00.000000", "2026-01-01 24:00:00.000000",
		"2026-01-01 00:60:00.000000", "2026-01-01 00:00:60.000000", "2026-01-01 00:00:0x.000000", "2026-01-01 00:00:00.00000-", "tomorrow", ""} {
		if got, ok := read(text); ok {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestTextThatLooksLikeNaNIsText(t *testing.T) {
	b := decode(t, `{"events": [{"event_type": "goal", "goal_name": "NaN \"Infinity\" -Infinity", "user_id": "u"}]}`)
	if len(b.Events) != 1 || b.Events[0].Name != `NaN "Infinity" -Infinity` {
		t.Errorf("read %+v, refused %+v", b.Events, b.Refused)
	}
}

func TestABodyThatIsNoRequestNamesItsByte(t *testing.T) {
	tests := []struct {
		name, body string
		offset     int64
	}{
		{"nothing", ``, 0},
		{"no JSON", `{"events": [?]}`, 12},
		{"a list", `[]`, 0},
		{"no events", `{}`, 2},
		{"something behind", `{"events": []} x`, 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s *wire.SyntaxError
			if err := hypotest.Decode([]byte(tt.body), "p", new(wire.Batch)); !errors.As(err, &s) || s.Offset != tt.offset {
				t.Errorf("error %v, want one at byte %d", err, tt.offset)
			}
		})
	}
}

func TestSettingsHaveAllElevenKeysAndTheDeclaredOrder(t *testing.T) {
	got := string(hypotest.AppendSettings(nil, []*experiment.Experiment{
		{Key: "a", ID: 7, State: experiment.Running, Hypothesis: `say "hi"`, Variants: []experiment.Variant{{Key: "z", Weight: .34}, {Key: "control", Weight: .33}, {Key: "b", Weight: 1. / 3}},
			Targeting: experiment.Targeting{Condition: "country == 'fr'", Tags: []string{"country"}}, Overrides: map[string][]string{"b": {"u1"}},
			Metrics: []experiment.Metric{{Key: "m", Kind: experiment.Funnel, Steps: []string{"s", "t"}}}},
		{Key: "draft", State: experiment.Draft},
		{Key: "c", ID: 8, State: experiment.Calibration, Variants: []experiment.Variant{{Key: "control", Weight: 1}}},
		{Key: "old", ID: 9, State: experiment.Stopped, Variants: []experiment.Variant{{Key: "control", Weight: 1}}},
	}))
	want := `{"tests": {"a": {"test_id": 7, "test_name": "a", "experiment_hypothesis": "say \"hi\"", "tag_names": ["country"], "condition_to_enter_test": "country == 'fr'", "variants_distribution": {"z": 0.34, "control": 0.33, "b": 0.3333333333333333}, "goal_names": ["s", "t"], "test_state": "running", "test_active": true, "override_control": [], "override_b": ["u1"]}, ` +
		`"c": {"test_id": 8, "test_name": "c", "experiment_hypothesis": "", "tag_names": [], "condition_to_enter_test": "True", "variants_distribution": {"control": 1}, "goal_names": [], "test_state": "calibration", "test_active": true, "override_control": [], "override_b": []}, ` +
		`"old": {"test_id": 9, "test_name": "old", "experiment_hypothesis": "", "tag_names": [], "condition_to_enter_test": "True", "variants_distribution": {"control": 1}, "goal_names": [], "test_state": "running", "test_active": false, "override_control": [], "override_b": []}}}` + "\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !json.Valid([]byte(got)) {
		t.Error("the settings are not JSON")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"events": [{"time": "2026-11-21 00:11:34.760592", "event_type": "visit", "user_id": "u1", "visitor_id": null, "variant": "control", "test_name": "area/two", "tags_name_value": {"a": 1, "b": [NaN]}}]}`))
	f.Add([]byte(`{"events": [{"event_type": "goal", "goal_value": -Infinity, "goal_name": "g", "user_id": 1e3}, 3]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := new(wire.Batch)
		if err := hypotest.Decode(body, "p", b); err != nil {
			return
		}
		if len(b.Events)+len(b.Refused) != b.Total {
			t.Fatalf("%d events and %d refusals of %d", len(b.Events), len(b.Refused), b.Total)
		}
		for i := range b.Events {
			if err := b.Events[i].Validate(); err != nil {
				t.Fatalf("accepted an event that is not valid: %v", err)
			}
		}
	})
}

// BenchmarkDecode reads one event of 249 bytes, alone and in a batch; its floor
// is the JSON decoder itself, reading the same bytes token by token.
func BenchmarkDecode(b *testing.B) {
	const one = `{"time": "2026-11-21 00:11:34.763093", "event_type": "visit", "user_id": null, "visitor_id": "v1", "variant": "b", "test_name": "area/two", "tags_name_value": {"country": "fr", "n": 3, "f": 1.5, "b": true, "sdk_version": "1.0.9", "sdk_type": "python3"}}`
	for _, n := range []int{1, 500} {
		body := []byte(`{"events": [` + one + strings.Repeat(", "+one, n-1) + `]}`)
		perEvent := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
			b.SetBytes(int64(len(body)))
		}
		b.Run(fmt.Sprintf("tokens/%d", n), func(b *testing.B) {
			for b.Loop() {
				d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
				for {
					if _, err := d.ReadToken(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
			perEvent(b)
		})
		b.Run(fmt.Sprintf("events/%d", n), func(b *testing.B) {
			batch := new(wire.Batch)
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset()
				if err := hypotest.Decode(body, "p", batch); err != nil {
					b.Fatal(err)
				}
			}
			perEvent(b)
		})
	}
}

// readShared reads a file of the specs that stand beside the tree. CI has
// them; elsewhere the test says that it is skipped.
func readShared(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "specs", name))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("the recorded vectors are not here: %v", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}
