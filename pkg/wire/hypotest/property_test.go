package hypotest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/wire"
	"github.com/hypostream/hypostream/pkg/wire/hypotest"
)

// text draws what people type, quotes, escapes and other alphabets included.
func text(t *rapid.T, name string) string {
	return rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune(`ab"\/NaN	{}[],: é😀`)), rapid.RuneFrom([]rune("\x00\n\u2028"))), 1, 12, -1).Draw(t, name)
}

// draw makes an event and what the SDK would send for it.
func draw(t *rapid.T) (event.Event, map[string]any) {
	e := event.Event{Kind: event.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Project: "p", Time: rapid.Int64Range(1, 4e15).Draw(t, "time")}
	m := map[string]any{"time": time.UnixMicro(e.Time).UTC().Format("2006-01-02 15:04:05.000000"), "user_id": nil, "visitor_id": nil}
	who := rapid.IntRange(1, 3).Draw(t, "who")
	if e.Kind == event.Match {
		who = 3
	}
	if who&1 != 0 {
		e.UserID = text(t, "user")
		m["user_id"] = e.UserID
	}
	if who&2 != 0 {
		n := rapid.Int64().Draw(t, "visitor")
		e.VisitorID = strconv.FormatInt(n, 10)
		m["visitor_id"] = n
	}
	switch e.Kind {
	case event.Exposure:
		m["event_type"] = "visit"
		e.Experiment, e.Variant = text(t, "test"), text(t, "variant")
		m["test_name"], m["variant"] = e.Experiment, e.Variant
		if rapid.Bool().Draw(t, "error") {
			e.SDKError, e.Flags = text(t, "error text"), event.Fallback
			m["ht_sdk_error"] = e.SDKError
		}
	case event.KPI:
		m["event_type"] = "goal"
		e.Name = text(t, "goal")
		m["goal_name"] = e.Name
		e.ValueMicro = rapid.Int64Range(-1e15, 1e15).Draw(t, "value")
		sign, rest := "", e.ValueMicro
		if rest < 0 {
			sign, rest = "-", -rest
		}
		number := fmt.Sprintf("%s%d.%06d", sign, rest/1e6, rest%1e6)
		m["goal_value"] = json.Number(number)
		if rapid.Bool().Draw(t, "as text") {
			m["goal_value"] = number
		}
	case event.Match:
		m["event_type"] = "match_user_visitor"
		e.Context = text(t, "context")
		m["context"] = e.Context
	}
	tags := map[string]any{"dropped": nil}
	for range rapid.IntRange(0, 20).Draw(t, "tags") {
		key := "k" + text(t, "key")
		if tags[key] != nil {
			continue
		}
		var v event.TagValue
		switch rapid.IntRange(0, 3).Draw(t, "type") {
		case 0:
			s := text(t, "string")
			v, tags[key] = event.StringTag(s), s
		case 1:
			i := rapid.Int64().Draw(t, "int")
			v, tags[key] = event.IntTag(i), i
		case 2:
			// A half is never a whole number, so JSON keeps its type.
			f := float64(rapid.IntRange(-1e6, 1e6).Draw(t, "float")) + .5
			v, tags[key] = event.FloatTag(f), f
		case 3:
			b := rapid.Bool().Draw(t, "bool")
			v, tags[key] = event.BoolTag(b), b
		}
		e.Tags = append(e.Tags, event.Tag{Key: key, Value: v})
	}
	e.Tags = event.SortTags(e.Tags)
	m["tags_name_value"] = tags
	m["something new"] = []any{map[string]any{"user_id": 1}}
	return e, m
}

func encode(t *rapid.T, events []map[string]any) []byte {
	body, err := json.Marshal(map[string]any{"events": events, "also": "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []event.Event
		var sent []map[string]any
		for range rapid.IntRange(0, 4).Draw(t, "events") {
			e, m := draw(t)
			want, sent = append(want, e), append(sent, m)
		}
		if sent == nil {
			sent = []map[string]any{}
		}
		b := new(wire.Batch)
		for range 2 { // a batch is used again
			b.Reset()
			if err := hypotest.Decode(encode(t, sent), "p", b); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.Refused) > 0 {
			t.Fatalf("refused %v of %s", b.Refused[0].Err, b.Refused[0].Raw)
		}
		if d := cmp.Diff(want, b.Events, opts, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

// Any bytes give events that are valid, refusals that name their bytes, or an
// error that names a byte; never a panic, and never an event lost in between.
func TestNoMutationOfABodyBreaksTheDecoder(t *testing.T) {
	pieces := []string{"NaN", "-Infinity", `"`, `\`, "{", "}", "[", "]", ",", ":", "null", "1e999", "\xff", `\ud800`, " ", "0"}
	rapid.Check(t, func(t *rapid.T) {
		_, one := draw(t)
		_, two := draw(t)
		body := encode(t, []map[string]any{one, two})
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			at := rapid.IntRange(0, len(body)-1).Draw(t, "at")
			end := min(len(body), at+rapid.IntRange(0, 6).Draw(t, "cut"))
			body = append(append(append([]byte(nil), body[:at]...), rapid.SampledFrom(pieces).Draw(t, "piece")...), body[end:]...)
		}
		sent := string(body)
		b := new(wire.Batch)
		if err := hypotest.Decode(body, "p", b); err != nil {
			var s *wire.SyntaxError
			if !errors.As(err, &s) || s.Offset < 0 || s.Offset > int64(len(sent)) {
				t.Fatalf("error %v for %q", err, sent)
			}
			return
		}
		if len(b.Events)+len(b.Refused) != b.Total {
			t.Fatalf("%d events and %d refusals of %d", len(b.Events), len(b.Refused), b.Total)
		}
		for i := range b.Events {
			if err := b.Events[i].Validate(); err != nil {
				t.Fatalf("accepted %+v: %v", b.Events[i], err)
			}
		}
		for _, r := range b.Refused {
			if !strings.HasPrefix(sent[r.Offset:], string(r.Raw)) || r.Err.Field == "" || r.Err.Reason == "" {
				t.Fatalf("refusal %+v (%v) does not name its bytes in %q", r, r.Err, sent)
			}
		}
	})
}
