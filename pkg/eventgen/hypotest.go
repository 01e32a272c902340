package eventgen

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/event"
)

// AppendRequest appends the body of one POST /v1/events, as the HypoTest SDKs
// write it, with these events in it.
func AppendRequest(dst []byte, events []event.Event) []byte {
	dst = append(dst, `{"events": [`...)
	for i := range events {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendEvent(dst, &events[i])
	}
	return append(dst, "]}"...)
}

func appendEvent(b []byte, e *event.Event) []byte {
	b = append(b, `{"time": "`...)
	b = time.UnixMicro(e.Time).UTC().AppendFormat(b, "2006-01-02 15:04:05.000000")
	b = append(b, `", "user_id": `...)
	b = appendOrNull(b, e.UserID)
	b = append(b, `, "visitor_id": `...)
	b = appendOrNull(b, e.VisitorID)
	switch e.Kind {
	case event.Exposure:
		b = append(b, `, "event_type": "visit", "test_name": `...)
		b = appendString(b, e.Experiment)
		b = append(b, `, "variant": `...)
		b = appendString(b, e.Variant)
	case event.KPI:
		b = append(b, `, "event_type": "goal", "goal_name": `...)
		b = appendString(b, e.Name)
		b = append(b, `, "goal_value": `...)
		b = appendMicro(b, e.ValueMicro)
	case event.Match:
		b = append(b, `, "event_type": "match_user_visitor", "context": `...)
		b = appendString(b, e.Context)
	}
	b = append(b, `, "tags_name_value": {`...)
	for i, t := range e.Tags {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, t.Key)
		b = append(b, ": "...)
		if t.Value.Kind() == event.TagString {
			b = appendString(b, t.Value.Str())
		} else {
			b = append(b, t.Value.Text()...)
		}
	}
	return append(b, "}}"...)
}

func appendOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

func appendString(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil { // only for invalid UTF-8, and what it wrote instead is valid
		return b
	}
	return b
}

func appendMicro(b []byte, v int64) []byte {
	if v%event.MicroPerUnit == 0 {
		return strconv.AppendInt(b, v/event.MicroPerUnit, 10)
	}
	if v < 0 {
		b = append(b, '-')
		v = -v
	}
	b = strconv.AppendInt(b, v/event.MicroPerUnit, 10)
	frac := strconv.FormatInt(event.MicroPerUnit+v%event.MicroPerUnit, 10)[1:]
	return append(append(b, '.'), frac...)
}
