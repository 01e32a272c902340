package event_test

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
)

func TestReceiveReplacesTimesThatCannotBe(t *testing.T) {
	const day = int64(24 * 60 * 60 * 1_000_000)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro()
	year2000 := int64(946684800) * 1_000_000 // 2000-01-01T00:00:00Z
	tests := []struct {
		name  string
		time  int64
		want  int64
		flags event.Flags
	}{
		{"now", now, now, 0},
		{"the first microsecond of 2000", year2000, year2000, 0},
		{"the last one of 1999", year2000 - 1, now, event.TimeReplaced},
		{"a day ahead", now + day, now + day, 0},
		{"a microsecond more", now + day + 1, now, event.TimeReplaced},
		{"none", 0, now, event.TimeMissing},
		{"before the epoch", -5, now, event.TimeReplaced},
		{"as far as it goes", math.MaxInt64, now, event.TimeReplaced},
		{"as far back as it goes", math.MinInt64, now, event.TimeReplaced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := event.Event{Time: tt.time, Flags: event.ValueRounded}
			e.Receive(now)
			if e.Time != tt.want || e.ReceivedAt != now || e.Flags != event.ValueRounded|tt.flags {
				t.Errorf("time %d received %d flags %b, want %d, %d, %b", e.Time, e.ReceivedAt, e.Flags, tt.want, now, event.ValueRounded|tt.flags)
			}
		})
	}
}

func TestSortTagsOrdersThemAndKeepsTheLastOfAKey(t *testing.T) {
	tag := func(k string, v event.TagValue) event.Tag { return event.Tag{Key: k, Value: v} }
	got := event.SortTags([]event.Tag{
		tag("b", event.IntTag(1)), tag("a", event.StringTag("x")), tag("b", event.BoolTag(true)), tag("", event.FloatTag(2)), tag("b", event.IntTag(3)),
	})
	want := []event.Tag{tag("", event.FloatTag(2)), tag("a", event.StringTag("x")), tag("b", event.IntTag(3))}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(event.TagValue{})); d != "" {
		t.Error(d)
	}
	if got := event.SortTags(nil); len(got) != 0 {
		t.Errorf("no tags become %v", got)
	}
}

func TestTagValuesAsText(t *testing.T) {
	tests := []struct {
		value event.TagValue
		want  string
	}{
		{event.StringTag("as is"), "as is"},
		{event.IntTag(-9007199254740993), "-9007199254740993"},
		{event.FloatTag(0.1), "0.1"},
		{event.FloatTag(1e21), "1e+21"},
		{event.BoolTag(true), "true"},
		{event.BoolTag(false), "false"},
		{event.TagValue{}, ""},
	}
	for _, tt := range tests {
		if got := tt.value.Text(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestKeyIsTheVisitorBeforeTheUser(t *testing.T) {
	for want, e := range map[string]event.Event{"v": {VisitorID: "v", UserID: "u"}, "u": {UserID: "u"}, "": {}} {
		if got := e.Key(); got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

func TestTopicsFollowThePrefix(t *testing.T) {
	topics := event.NewTopics("eu")
	if topics.Of(event.KPI) != "eu.kpis" || topics.Of(event.Exposure) != "eu.exposures" || topics.Of(event.Match) != "eu.matches" || topics.Of(9) != "" {
		t.Errorf("topics %+v", topics)
	}
	if event.NewTopics("").DeadLetters != "hypostream.dead-letters" {
		t.Error("the default prefix")
	}
}

func TestValidateNamesTheFieldAndTheReason(t *testing.T) {
	exposure := event.Event{Kind: event.Exposure, Project: "p", UserID: "u", Experiment: "x", Variant: "v"}
	kpi := event.Event{Kind: event.KPI, Project: "p", VisitorID: "v", Name: "n"}
	match := event.Event{Kind: event.Match, Project: "p", VisitorID: "v", UserID: "u"}
	with := func(e event.Event, change func(*event.Event)) event.Event { change(&e); return e }
	text := func(n int) string { return strings.Repeat("x", n) }
	tags := func(n int, value event.TagValue) (out []event.Tag) {
		for i := range n {
			out = append(out, event.Tag{Key: string(rune('A' + i)), Value: value})
		}
		return out
	}
	tests := []struct {
		name   string
		event  event.Event
		field  string // "": accepted
		reason event.Reason
	}{
		{"a whole exposure", exposure, "", ""},
		{"a whole KPI", kpi, "", ""},
		{"a whole match", match, "", ""},
		{"no project", with(kpi, func(e *event.Event) { e.Project = "" }), "project", event.ReasonMissing},
		{"a kind nobody knows", with(kpi, func(e *event.Event) { e.Kind = 4 }), "kind", event.ReasonUnknown},
		{"no experiment", with(exposure, func(e *event.Event) { e.Experiment = "" }), "experiment", event.ReasonMissing},
		{"no variant", with(exposure, func(e *event.Event) { e.Variant = "" }), "variant", event.ReasonMissing},
		{"no experiment, but the SDK says why", with(exposure, func(e *event.Event) { e.Experiment, e.Variant, e.SDKError = "", "", "no settings" }), "", ""},
		{"no KPI name, even with an SDK error", with(kpi, func(e *event.Event) { e.Name, e.SDKError = "", "x" }), "name", event.ReasonMissing},
		{"no ids", with(kpi, func(e *event.Event) { e.VisitorID = "" }), "user_id", event.ReasonMissing},
		{"no ids, but the SDK says why", with(kpi, func(e *event.Event) { e.VisitorID, e.SDKError = "", "x" }), "", ""},
		{"a match without its user", with(match, func(e *event.Event) { e.UserID = "" }), "user_id", event.ReasonMissing},
		{"a match without its visitor", with(match, func(e *event.Event) { e.VisitorID = "" }), "visitor_id", event.ReasonMissing},
		{"… even with an SDK error", with(match, func(e *event.Event) { e.VisitorID, e.SDKError = "", "x" }), "visitor_id", event.ReasonMissing},
		{"the longest user id", with(kpi, func(e *event.Event) { e.UserID = text(512) }), "", ""},
		{"a longer one", with(kpi, func(e *event.Event) { e.UserID = text(513) }), "user_id", event.ReasonTooLong},
		{"a visitor id too long", with(kpi, func(e *event.Event) { e.VisitorID = text(513) }), "visitor_id", event.ReasonTooLong},
		{"bytes count, not characters", with(kpi, func(e *event.Event) { e.Name = strings.Repeat("é", 257) }), "name", event.ReasonTooLong},
		{"the longest SDK error", with(kpi, func(e *event.Event) { e.SDKError = text(2048) }), "", ""},
		{"a longer one", with(kpi, func(e *event.Event) { e.SDKError = text(2049) }), "sdk_error", event.ReasonTooLong},
		{"a context too long", with(match, func(e *event.Event) { e.Context = text(513) }), "context", event.ReasonTooLong},
		{"an override reason too long", with(exposure, func(e *event.Event) { e.OverrideReason = text(513) }), "override_reason", event.ReasonTooLong},
		{"a project that is not UTF-8", with(kpi, func(e *event.Event) { e.Project = "\xff" }), "project", event.ReasonEncoding},
		{"a variant that is not UTF-8", with(exposure, func(e *event.Event) { e.Variant = "a\xc3" }), "variant", event.ReasonEncoding},
		{"64 tags", with(kpi, func(e *event.Event) { e.Tags = tags(64, event.BoolTag(true)) }), "", ""},
		{"65 tags", with(kpi, func(e *event.Event) { e.Tags = tags(65, event.BoolTag(true)) }), "tags", event.ReasonTooLong},
		// 8 KiB: two keys of a byte and 8190 bytes of values.
		{"the most bytes of tags", with(kpi, func(e *event.Event) { e.Tags = tags(2, event.StringTag(text(4095))) }), "", ""},
		{"a byte more", with(kpi, func(e *event.Event) {
			e.Tags = append(tags(1, event.StringTag(text(4095))), event.Tag{Key: "B", Value: event.StringTag(text(4096))})
		}), "tags", event.ReasonTooLong},
		{"a tag's key that is not UTF-8", with(kpi, func(e *event.Event) { e.Tags = []event.Tag{{Key: "\xff"}} }), "tags", event.ReasonEncoding},
		{"a tag's value that is not UTF-8", with(kpi, func(e *event.Event) { e.Tags = tags(1, event.StringTag("\xff")) }), "tags", event.ReasonEncoding},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.event.Validate()
			if tt.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var f *event.FieldError
			if !errors.As(err, &f) || f.Field != tt.field || f.Reason != tt.reason {
				t.Errorf("error %v, want field %s with reason %s", err, tt.field, tt.reason)
			}
		})
	}
}

func TestSortTagsAgreesWithAStableSortOfAnyLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringMatching(`[a-h]{1,2}`), 0, 40).Draw(t, "keys")
		var tags []event.Tag
		last := map[string]int64{}
		for i, k := range keys {
			tags = append(tags, event.Tag{Key: k, Value: event.IntTag(int64(i))})
			last[k] = int64(i)
		}
		var want []event.Tag
		for _, k := range slices.Sorted(maps.Keys(last)) {
			want = append(want, event.Tag{Key: k, Value: event.IntTag(last[k])})
		}
		if got := event.SortTags(tags); !slices.Equal(got, want) {
			t.Fatalf("%v become %v, want %v", keys, got, want)
		}
	})
}
