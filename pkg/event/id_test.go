package event_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
)

func genTag() *rapid.Generator[event.TagValue] {
	return rapid.OneOf(
		rapid.Map(rapid.String(), event.StringTag), rapid.Map(rapid.Int64(), event.IntTag),
		rapid.Map(rapid.Float64(), event.FloatTag), rapid.Map(rapid.Bool(), event.BoolTag))
}

func genEvent(t *rapid.T) event.Event {
	s := rapid.StringN(0, 8, -1)
	e := event.Event{
		Kind: event.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Project: s.Draw(t, "project"),
		UserID: s.Draw(t, "user"), VisitorID: s.Draw(t, "visitor"), Time: rapid.Int64Range(1, 1<<60).Draw(t, "time"),
		Experiment: s.Draw(t, "experiment"), Variant: s.Draw(t, "variant"), OverrideReason: s.Draw(t, "override"),
		SDKError: s.Draw(t, "error"), Name: s.Draw(t, "name"), ValueMicro: rapid.Int64().Draw(t, "value"), Context: s.Draw(t, "context"),
	}
	for k, v := range rapid.MapOfN(s, genTag(), 0, 3).Draw(t, "tags") {
		e.Tags = append(e.Tags, event.Tag{Key: k, Value: v})
	}
	e.Tags = event.SortTags(e.Tags)
	return e
}

// identify gives the ids of one request's events, at a time.
func identify(now int64, events ...event.Event) []event.ID {
	var x event.Identifier
	ids := make([]event.ID, len(events))
	for i := range events {
		x.Identify(&events[i], now)
		ids[i] = events[i].ID
	}
	return ids
}

func TestARetriedRequestRepeatsItsIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(genEvent), 1, 6).Draw(t, "events")
		events = append(events, events[0], events[0]) // repeats keep their ordinals
		first := identify(1000, append([]event.Event(nil), events...)...)
		second := identify(2000, append([]event.Event(nil), events...)...)
		for i := range first {
			if first[i] != second[i] {
				t.Fatalf("event %d is %s at first and %s when sent again", i, first[i], second[i])
			}
			if first[i].IsZero() {
				t.Fatalf("event %d has no identity", i)
			}
		}
	})
}

func TestFiveEqualEventsStayFive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent(t)
		seen := map[event.ID]bool{}
		for _, id := range identify(1, e, e, e, e, e) {
			seen[id] = true
		}
		if len(seen) != 5 {
			t.Fatalf("five equal events have %d ids", len(seen))
		}
	})
}

func TestEveryFieldTakesPartInTheIdentity(t *testing.T) {
	changes := map[string]func(e *event.Event){
		"kind":            func(e *event.Event) { e.Kind = e.Kind%3 + 1 },
		"project":         func(e *event.Event) { e.Project += "x" },
		"user_id":         func(e *event.Event) { e.UserID += "x" },
		"visitor_id":      func(e *event.Event) { e.VisitorID += "x" },
		"user as visitor": func(e *event.Event) { e.UserID, e.VisitorID = e.VisitorID, e.UserID+"x" },
		"time":            func(e *event.Event) { e.Time++ },
		"experiment":      func(e *event.Event) { e.Experiment += "x" },
		"variant":         func(e *event.Event) { e.Variant += "x" },
		"override reason": func(e *event.Event) { e.OverrideReason += "x" },
		"sdk_error":       func(e *event.Event) { e.SDKError += "x" },
		"name":            func(e *event.Event) { e.Name += "x" },
		"value":           func(e *event.Event) { e.ValueMicro ^= 1 },
		"context":         func(e *event.Event) { e.Context += "x" },
		"a tag more": func(e *event.Event) {
			e.Tags = append(e.Tags[:len(e.Tags):len(e.Tags)], event.Tag{Key: "a longer key than any"})
		},
		// A character that moves from one field to the next must not go unseen.
		"the border of two fields": func(e *event.Event) { e.Variant, e.OverrideReason = e.Variant+"x", "x"+e.OverrideReason },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				e := genEvent(t)
				before := identify(1, e)[0]
				change(&e)
				if identify(1, e)[0] == before {
					t.Fatal("the identity did not change")
				}
			})
		})
	}
}

func TestTagTypesTakePartInTheIdentity(t *testing.T) {
	values := []event.TagValue{event.StringTag("1"), event.IntTag(1), event.FloatTag(1), event.BoolTag(true), event.StringTag("true"), event.StringTag("")}
	seen := map[event.ID]event.TagValue{}
	for _, v := range values {
		id := identify(1, event.Event{Kind: event.KPI, Tags: []event.Tag{{Key: "k", Value: v}}})[0]
		if other, ok := seen[id]; ok {
			t.Errorf("%v and %v have one identity", v, other)
		}
		seen[id] = v
	}
}

// The ordinal of a repeat is bytes behind the fields, and so is a tag: the
// 27393rd (0x6b01) copy of an event without tags would be the event with the
// tag k="" if they shared one hash space.
func TestARepeatIsNeverAnEventWithATag(t *testing.T) {
	e := event.Event{Kind: event.KPI, Project: "p", UserID: "u", Name: "n", Time: 1}
	tagged := e
	tagged.Tags = []event.Tag{{Key: "k", Value: event.StringTag("")}}
	want := identify(1, tagged)[0]
	var x event.Identifier
	for range 0x6b02 {
		c := e
		x.Identify(&c, 1)
		if c.ID == want {
			t.Fatal("a repeat has the identity of another event")
		}
	}
}

func TestEventsWithoutATimeDifferBetweenRequests(t *testing.T) {
	e := event.Event{Kind: event.KPI, Project: "p", UserID: "u", Name: "n"}
	if identify(1, e)[0] == identify(2, e)[0] {
		t.Error("two requests' events are one")
	}
	if first, again := identify(1, e)[0], identify(1, e)[0]; first != again {
		t.Error("one time gives two identities")
	}
}

func TestAnIdentityThatWasGivenStays(t *testing.T) {
	id := event.ClientID("p", event.KPI, "abc")
	e := event.Event{Kind: event.KPI, Project: "p", ID: id}
	for i, got := range identify(1, e, e) {
		if got != id {
			t.Errorf("event %d has %s, want %s", i, got, id)
		}
	}
	for name, other := range map[string]event.ID{
		"another project": event.ClientID("q", event.KPI, "abc"),
		"another kind":    event.ClientID("p", event.Match, "abc"),
		"another id":      event.ClientID("p", event.KPI, "abd"),
		"a moved border":  event.ClientID("pa", event.KPI, "bc"),
	} {
		if other == id {
			t.Errorf("%s has the same identity", name)
		}
	}
}

func TestResetStartsANewRequest(t *testing.T) {
	var x event.Identifier
	a := event.Event{Kind: event.KPI, Time: 1}
	b := a
	x.Identify(&a, 5)
	x.Reset()
	x.Identify(&b, 6)
	if a.ID != b.ID {
		t.Error("the first event of a request depends on the request before")
	}
}

func TestIDsPrintAsUUIDs(t *testing.T) {
	id := event.ID{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	if got := id.String(); got != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Error(got)
	}
}
