package batch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/wire"
	"github.com/hypostream/hypostream/pkg/wire/batch"
)

func text(t *rapid.T, name string) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab\"\\/{}[],: \té😀\u2028")), 1, 12, -1).Draw(t, name)
}

// draw makes an event and a client's words for it.
func draw(t *rapid.T) (event.Event, map[string]any) {
	e := event.Event{Kind: event.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Project: "p", UserID: text(t, "user"), Time: rapid.Int64Range(1, 4e15).Draw(t, "time")}
	m := map[string]any{"type": e.Kind.String(), "user_id": e.UserID, "time": e.Time}
	if rapid.Bool().Draw(t, "RFC 3339") {
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone"))
		m["time"] = time.UnixMicro(e.Time).In(zone).Format(time.RFC3339Nano)
	}
	if rapid.Bool().Draw(t, "named") {
		id := text(t, "id")
		e.ID, m["id"] = event.ClientID("p", e.Kind, id), id
	}
	switch e.Kind {
	case event.Exposure:
		e.Experiment, e.Variant = text(t, "experiment"), text(t, "variant")
		m["experiment"], m["variant"] = e.Experiment, e.Variant
	case event.KPI:
		e.Name, e.ValueMicro = text(t, "name"), 1_000_000
		m["name"] = e.Name
		if rapid.Bool().Draw(t, "valued") {
			e.ValueMicro = rapid.Int64Range(-1e15, 1e15).Draw(t, "value")
			m["value"] = json.Number(strconv.FormatInt(e.ValueMicro, 10) + "e-6")
		}
	case event.Match:
		e.VisitorID, e.Context = text(t, "visitor"), text(t, "context")
		m["visitor_id"], m["context"] = e.VisitorID, e.Context
	}
	tags := map[string]any{}
	for range rapid.IntRange(0, 5).Draw(t, "tags") {
		key := text(t, "key")
		if tags[key] != nil {
			continue
		}
		i := rapid.Int64().Draw(t, "int")
		tags[key] = i
		e.Tags = append(e.Tags, event.Tag{Key: key, Value: event.IntTag(i)})
	}
	e.Tags = event.SortTags(e.Tags)
	m["tags"] = tags
	return e, m
}

// encode writes the events in one of the wire's forms.
func encode(t *rapid.T, events []map[string]any) (body []byte, lines bool) {
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	switch form := rapid.IntRange(0, 3).Draw(t, "form"); form {
	case 0:
		return marshal(events), false
	case 1:
		return marshal(map[string]any{"events": events, "sent_at": 1}), false
	default:
		var b bytes.Buffer
		for _, e := range events {
			b.Write(marshal(e))
			b.WriteString(rapid.SampledFrom([]string{"\n", "\r\n", "\n\n"}).Draw(t, "end of line"))
		}
		return b.Bytes(), form == 2
	}
}

func TestWhatIsEncodedIsDecodedInEveryForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []event.Event
		var sent []map[string]any
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			e, m := draw(t)
			want, sent = append(want, e), append(sent, m)
		}
		body, lines := encode(t, sent)
		b := new(wire.Batch)
		if err := batch.Decode(body, lines, "p", b); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if len(b.Refused) > 0 {
			t.Fatalf("refused %v of %s", b.Refused[0].Err, b.Refused[0].Raw)
		}
		if d := cmp.Diff(want, b.Events, cmp.AllowUnexported(event.TagValue{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

// Any bytes give events that are valid, refusals that say where, or an error
// that names a byte; never a panic, and never an event lost in between.
func TestNoMutationOfABodyBreaksTheDecoder(t *testing.T) {
	pieces := []string{"NaN", `"`, `\`, "{", "}", "[", "]", ",", ":", "\n", "null", "1e999", "\xff", `\ud800`, " ", "0", `"type":"kpi",`}
	rapid.Check(t, func(t *rapid.T) {
		_, one := draw(t)
		_, two := draw(t)
		body, lines := encode(t, []map[string]any{one, two})
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			at := rapid.IntRange(0, len(body)-1).Draw(t, "at")
			end := min(len(body), at+rapid.IntRange(0, 6).Draw(t, "cut"))
			body = append(append(append([]byte(nil), body[:at]...), rapid.SampledFrom(pieces).Draw(t, "piece")...), body[end:]...)
		}
		b := new(wire.Batch)
		if err := batch.Decode(body, lines, "p", b); err != nil {
			var s *wire.SyntaxError
			if !errors.As(err, &s) || s.Offset < 0 || s.Offset > int64(len(body)) {
				t.Fatalf("error %v for %q", err, body)
			}
			return
		}
		if len(b.Events)+len(b.Refused) != b.Total || b.Total == 0 && !strings.Contains(string(body), "[") {
			t.Fatalf("%d events and %d refusals of %d in %q", len(b.Events), len(b.Refused), b.Total, body)
		}
		for i := range b.Events {
			if err := b.Events[i].Validate(); err != nil {
				t.Fatalf("accepted %+v: %v", b.Events[i], err)
			}
		}
		for _, r := range b.Refused {
			if r.Offset < 0 || r.Offset > int64(len(body)) || !bytes.Contains(body, r.Raw) || r.Err.Reason == "" {
				t.Fatalf("refusal %+v (%v) of %q", r, r.Err, body)
			}
		}
	})
}
