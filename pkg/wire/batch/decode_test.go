package batch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/wire"
	"github.com/hypostream/hypostream/pkg/wire/batch"
)

const (
	one = `{"type": "kpi", "user_id": "u1", "name": "buy", "value": 3.5, "time": "2026-11-21T02:00:00.000001+02:00", "tags": {"b": 1, "a": "x"}}`
	two = `{"type": "match", "user_id": "u1", "visitor_id": "v1", "context": "signup", "time": 1795219200000001, "extra": [1]}`
)

func TestEveryFormGivesTheSameEvents(t *testing.T) {
	// 2026-11-21 00:00:00 UTC is 20778 days × 86400 s = 1795219200 s
	want := []event.Event{
		{Kind: event.KPI, Project: "p", UserID: "u1", Name: "buy", ValueMicro: 3_500_000, Time: 1795219200000001,
			Tags: []event.Tag{{Key: "a", Value: event.StringTag("x")}, {Key: "b", Value: event.IntTag(1)}}},
		{Kind: event.Match, Project: "p", UserID: "u1", VisitorID: "v1", Context: "signup", Time: 1795219200000001, Tags: []event.Tag{}},
	}
	tests := []struct {
		name, body string
		lines      bool
		want       []event.Event
	}{
		{"one object", one, false, want[:1]},
		{"an array", "[" + one + "," + two + "]", false, want},
		{"an object with events", `{"sent_at": 1, "events": [` + one + "," + two + "]}", false, want},
		{"lines, announced", one + "\n\n" + two + "\n", true, want},
		{"lines, told by the body", one + "\n" + two, false, want},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(wire.Batch)
			if err := batch.Decode([]byte(tt.body), tt.lines, "p", b); err != nil {
				t.Fatal(err)
			}
			if len(b.Refused) > 0 {
				t.Fatalf("refused: %v", b.Refused[0].Err)
			}
			for i := range b.Events { // an empty list of tags may be nil or not
				if len(b.Events[i].Tags) == 0 {
					b.Events[i].Tags = []event.Tag{}
				}
			}
			if d := cmp.Diff(tt.want, b.Events, cmp.AllowUnexported(event.TagValue{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheClientsIDIsTheEvents(t *testing.T) {
	b := new(wire.Batch)
	body := `[{"type":"kpi","id":"x","user_id":"u","name":"n"},{"type":"kpi","id":"x","user_id":"other","name":"n"},{"type":"kpi","id":"y","user_id":"u","name":"n"}]`
	if err := batch.Decode([]byte(body), false, "p", b); err != nil {
		t.Fatal(err)
	}
	if b.Events[0].ID != b.Events[1].ID || b.Events[0].ID == b.Events[2].ID || b.Events[0].ID.IsZero() {
		t.Errorf("ids %s, %s, %s: want the first two equal and the third another", b.Events[0].ID, b.Events[1].ID, b.Events[2].ID)
	}
}

func TestRefusalsNameIndexFieldAndPlace(t *testing.T) {
	tests := []struct {
		name, bad, field string
		reason           event.Reason
	}{
		{"a wrong type of value", `{"type":"kpi","user_id":"u","name":"n","value":true}`, "value", event.ReasonType},
		{"no id", `{"type":"kpi","name":"n"}`, "user_id", event.ReasonMissing},
		{"a field of another kind", `{"type":"exposure","user_id":"u","experiment":"x","variant":"b","value":1}`, "value", event.ReasonValue},
		{"65 tags", `{"type":"kpi","user_id":"u","name":"n","tags":{` + manyTags(65) + `}}`, "tags", event.ReasonTooLong},
		{"tags over 8 KB", `{"type":"kpi","user_id":"u","name":"n","tags":{"a":"` + strings.Repeat("x", 8192) + `"}}`, "tags", event.ReasonTooLong},
		{"a visitor over 512 bytes", `{"type":"kpi","visitor_id":"` + strings.Repeat("x", 513) + `","name":"n"}`, "visitor_id", event.ReasonTooLong},
		{"a time that is none", `{"type":"kpi","user_id":"u","name":"n","time":"yesterday"}`, "time", event.ReasonValue},
		{"no type", `{"user_id":"u"}`, "type", event.ReasonMissing},
		{"no object", `[]`, "event", event.ReasonType},
	}
	good := `{"type":"kpi","user_id":"u","name":"n"}`
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := "[" + good + ", " + tt.bad + ", " + good + "]"
			b := new(wire.Batch)
			if err := batch.Decode([]byte(body), false, "p", b); err != nil {
				t.Fatal(err)
			}
			if len(b.Events) != 2 || len(b.Refused) != 1 {
				t.Fatalf("%d events and %d refusals, want 2 and 1", len(b.Events), len(b.Refused))
			}
			r := b.Refused[0]
			if r.Index != 1 || r.Err.Field != tt.field || r.Err.Reason != tt.reason || r.Offset != int64(strings.Index(body, tt.bad)) {
				t.Errorf("refusal %d at %d: %+v", r.Index, r.Offset, r.Err)
			}
		})
	}
}

func manyTags(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, `"t`+strings.Repeat("i", i)+`":1`)
	}
	return strings.Join(parts, ",")
}

func TestABrokenLineSpoilsNoOther(t *testing.T) {
	b := new(wire.Batch)
	body := one + "\n{\"type\": nope}\n{\"type\":\"kpi\",\"type\":\"kpi\"}\n" + two
	if err := batch.Decode([]byte(body), true, "p", b); err != nil {
		t.Fatal(err)
	}
	if len(b.Events) != 2 || len(b.Refused) != 2 {
		t.Fatalf("%d events, %d refusals, want 2 and 2", len(b.Events), len(b.Refused))
	}
	// byte 10 of the second line is the "o" of nope, which no literal starts like
	if want := int64(len(one) + 1 + 10); b.Refused[0].Index != 1 || b.Refused[0].Offset != want {
		t.Errorf("refusal of line %d at byte %d, want 1 at %d", b.Refused[0].Index, b.Refused[0].Offset, want)
	}
	if b.Refused[1].Index != 2 || b.Refused[1].Err.Reason != event.ReasonMalformed {
		t.Errorf("a repeated name: %+v", b.Refused[1])
	}
}

func TestABodyThatIsNoRequest(t *testing.T) {
	tests := []struct {
		name, body string
		offset     int64
	}{
		{"nothing", "", 0}, {"a word", " hello", 1}, {"a number", "7", 0}, {"an open array", `[` + one, int64(1 + len(one))}, {"behind the array", "[] []", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s *wire.SyntaxError
			if err := batch.Decode([]byte(tt.body), false, "p", new(wire.Batch)); !errors.As(err, &s) || s.Offset != tt.offset {
				t.Errorf("error %v, want one at byte %d", err, tt.offset)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("["+one+","+two+"]"), false)
	f.Add([]byte(one+"\n"+two), true)
	f.Add([]byte(`{"events":[{"type":"kpi","tags":{"a":null}}]}`), false)
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		b := new(wire.Batch)
		if err := batch.Decode(body, lines, "p", b); err != nil {
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

// BenchmarkDecode reads one event of 195 bytes, alone and in an array.
func BenchmarkDecode(b *testing.B) {
	const event = `{"type": "exposure", "visitor_id": "v0000000001", "time": "2026-11-21T00:11:34.763093Z", "experiment": "landing/headline", "variant": "control", "tags": {"sdk_version": "1.0.9", "plan": "pro", "n": 3}}`
	for _, n := range []int{1, 500} {
		body := []byte("[" + event + strings.Repeat(", "+event, n-1) + "]")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			events := new(wire.Batch)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				events.Reset()
				if err := batch.Decode(body, false, "p", events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}
