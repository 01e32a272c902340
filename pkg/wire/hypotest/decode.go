// Package hypotest speaks the wire of the HypoTest SDKs (hypotest-python3-sdk
// 1.0.9): it decodes the body of POST /v1/events and encodes the settings of
// GET /v1/all_series_tests.
package hypotest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/wire"
)

// The SDK's own error texts that mean something to us.
const (
	// bothIDs comes with a variant that was really drawn, by the visitor's id.
	bothIDs = "both user_id and visitor_id where sent"
	// noIDs is what the SDK says when it was given neither.
	noIDs = "user_id or visitor_id must be sent"
)

// Limits of a request.
const (
	maxEvents   = 10_000
	maxTags     = 256 // read at most; the event's own limit is lower and named
	maxErrBytes = event.MaxErrBytes
)

type decoder struct {
	buf  *bytes.Buffer
	json *jsontext.Decoder
	// text is a copy of the body as it came, of which all strings of the
	// events are parts: one allocation for all of them.
	text string
	// holes are the ends of values that were NaN or Infinity, which Python
	// writes and JSON does not know.
	holes []int64
}

var decoders = sync.Pool{New: func() any {
	return &decoder{buf: new(bytes.Buffer), json: new(jsontext.Decoder)}
}}

// Decode reads a request's body into b, for a project. Bad events are refused
// one by one; the error, a *wire.SyntaxError, is for a body that is no request
// at all. The body is changed where it holds NaN or Infinity.
func Decode(body []byte, project string, b *wire.Batch) error {
	d := decoders.Get().(*decoder)
	defer d.free()
	d.text = string(body)
	d.holes = plug(body, d.holes[:0])
	*d.buf = *bytes.NewBuffer(body) // the decoder parses a Buffer in place
	d.json.Reset(d.buf, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := d.request(body, project, b); err != nil {
		if s, ok := err.(*wire.SyntaxError); ok {
			return s
		}
		return wire.Syntax(d.json, err)
	}
	return nil
}

func (d *decoder) free() {
	d.text = ""
	*d.buf = bytes.Buffer{}
	decoders.Put(d)
}

// value reads one value and gives its raw text.
func (d *decoder) value() (string, error) {
	raw, err := d.json.ReadValue()
	end := d.json.InputOffset()
	return d.text[end-int64(len(raw)) : end], err
}

func (d *decoder) request(body []byte, project string, b *wire.Batch) error {
	if k := d.json.PeekKind(); k != '{' {
		if k == 0 {
			_, err := d.json.ReadToken()
			return err
		}
		return &wire.SyntaxError{Offset: d.json.InputOffset(), Detail: `want an object {"events": […]}`}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	found := false
	for d.json.PeekKind() != '}' {
		name, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		if string(name) != `"events"` {
			if err := d.json.SkipValue(); err != nil {
				return err
			}
			continue
		}
		found = true
		if d.json.PeekKind() != '[' {
			if _, err := d.json.ReadToken(); err != nil {
				return err
			}
			return &wire.SyntaxError{Offset: d.json.InputOffset(), Detail: "events: want an array"}
		}
		if _, err := d.json.ReadToken(); err != nil {
			return err
		}
		for d.json.PeekKind() != ']' {
			if b.Total == maxEvents {
				return &wire.SyntaxError{Offset: d.json.InputOffset(), Detail: fmt.Sprintf("events: more than %d", maxEvents)}
			}
			if err := d.event(body, project, b); err != nil {
				return err
			}
		}
		if _, err := d.json.ReadToken(); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	if !found {
		return &wire.SyntaxError{Offset: d.json.InputOffset(), Detail: `want an object {"events": […]}`}
	}
	if rest := bytes.TrimLeft(body[d.json.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return &wire.SyntaxError{Offset: int64(len(body) - len(rest)), Detail: "something stands behind the object"}
	}
	return nil
}

// event reads one element. An error is one of the JSON; whatever else is wrong
// refuses this event alone.
func (d *decoder) event(body []byte, project string, b *wire.Batch) error {
	index := b.Total
	b.Total++
	kind := d.json.PeekKind()
	start := valueStart(body, d.json.InputOffset())
	var fault *event.FieldError
	if kind != '{' {
		if err := d.json.SkipValue(); err != nil {
			return err
		}
		fault = &event.FieldError{Field: "events", Reason: event.ReasonType, Detail: "want an object"}
	} else {
		e := b.Next()
		e.Project = project
		e.ValueMicro = event.MicroPerUnit
		if _, err := d.json.ReadToken(); err != nil {
			return err
		}
		for d.json.PeekKind() != '}' {
			name, err := d.value()
			if err != nil {
				return err
			}
			f, err := d.field(e, wire.Text(name))
			if err != nil {
				return err
			}
			if fault == nil {
				fault = f
			}
		}
		if _, err := d.json.ReadToken(); err != nil {
			return err
		}
		if fault == nil {
			fault = finish(e)
		}
		if fault != nil {
			b.Drop()
		}
	}
	if fault != nil {
		b.Refused = append(b.Refused, wire.Refusal{Index: index, Offset: start, Err: fault, Raw: []byte(d.text[start:d.json.InputOffset()])})
	}
	return nil
}

// field reads one field's value into the event.
func (d *decoder) field(e *event.Event, name string) (fault *event.FieldError, err error) {
	if name == "tags_name_value" {
		return d.tags(e)
	}
	raw, err := d.value()
	if err != nil {
		return nil, err
	}
	switch name {
	case "event_type":
		var s string
		if s, fault = wire.String(name, raw); fault != nil {
			break
		}
		switch s {
		case "visit":
			e.Kind = event.Exposure
		case "goal":
			e.Kind = event.KPI
		case "match_user_visitor":
			e.Kind = event.Match
		default:
			fault = &event.FieldError{Field: name, Reason: event.ReasonUnknown, Detail: fmt.Sprintf("%.40q is none of visit, goal, match_user_visitor", s)}
		}
	case "user_id":
		e.UserID, fault = wire.ID(name, raw)
	case "visitor_id":
		e.VisitorID, fault = wire.ID(name, raw)
	case "time":
		e.Time, fault = parseTime(name, raw)
	case "variant":
		e.Variant, fault = wire.String(name, raw)
	case "test_name":
		e.Experiment, fault = wire.String(name, raw)
	case "goal_name":
		e.Name, fault = wire.String(name, raw)
	case "goal_value":
		var flags event.Flags
		e.ValueMicro, flags, fault = wire.Value(name, raw)
		e.Flags |= flags
	case "context":
		e.Context, fault = wire.String(name, raw)
	case "ht_sdk_error":
		e.SDKError, fault = wire.String(name, raw)
	default:
		return nil, nil // unknown fields are ignored, whatever they hold
	}
	if d.hole() {
		return nonFinite(name), nil
	}
	return fault, nil
}

func (d *decoder) tags(e *event.Event) (fault *event.FieldError, err error) {
	if d.json.PeekKind() != '{' {
		raw, err := d.json.ReadValue()
		if err != nil || raw.Kind() == 'n' {
			return nil, err
		}
		return &event.FieldError{Field: "tags_name_value", Reason: event.ReasonType, Detail: "want an object"}, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	n := 0
	for d.json.PeekKind() != '}' {
		name, err := d.value()
		if err != nil {
			return nil, err
		}
		if n++; n > maxTags {
			if err := d.json.SkipValue(); err != nil {
				return nil, err
			}
			fault = &event.FieldError{Field: "tags", Reason: event.ReasonTooLong, Detail: fmt.Sprintf("more than %d entries, at most %d are accepted", maxTags, event.MaxTags)}
			continue
		}
		key := wire.Text(name)
		raw, err := d.value()
		if err != nil {
			return nil, err
		}
		v, ok, f := wire.Tag("tags_name_value", key, raw)
		if d.hole() {
			f = nonFinite("tags_name_value." + key)
		}
		switch {
		case f != nil:
			if fault == nil {
				fault = f
			}
		case !ok:
		case key == "override_reason":
			e.OverrideReason = v.Text()
		default:
			e.Tags = append(e.Tags, event.Tag{Key: key, Value: v})
		}
	}
	_, err = d.json.ReadToken()
	return fault, err
}

// finish settles what follows from several fields, and validates.
func finish(e *event.Event) *event.FieldError {
	if e.Kind == 0 {
		return &event.FieldError{Field: "event_type", Reason: event.ReasonMissing, Detail: "required: visit, goal or match_user_visitor"}
	}
	e.Tags = event.SortTags(e.Tags)
	if len(e.SDKError) > maxErrBytes {
		e.SDKError = strings.ToValidUTF8(e.SDKError[:maxErrBytes], "")
	}
	if e.Kind == event.Match {
		e.SDKError = ""
	} else if e.UserID == "" && e.VisitorID == "" && e.SDKError == "" {
		e.SDKError = noIDs
	}
	if e.Kind != event.KPI {
		e.ValueMicro = 0
		e.Flags = 0
	}
	if e.Kind == event.Exposure && e.SDKError != "" && e.SDKError != bothIDs {
		e.Flags |= event.Fallback
	}
	if err := e.Validate(); err != nil {
		return err.(*event.FieldError)
	}
	return nil
}

// parseTime reads YYYY-MM-DD HH:MM:SS.ffffff, UTC.
func parseTime(field, raw string) (int64, *event.FieldError) {
	if raw[0] == 'n' {
		return 0, nil
	}
	if raw[0] == '"' {
		s := raw[1 : len(raw)-1]
		if t, ok := fixedTime(s); ok {
			return t, nil
		}
		// Python leaves the fraction out when it is zero in other formats.
		for _, layout := range []string{"2006-01-02 15:04:05.999999", "2006-01-02T15:04:05.999999Z07:00"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t.UnixMicro(), nil
			}
		}
	}
	return 0, &event.FieldError{Field: field, Reason: event.ReasonValue, Detail: fmt.Sprintf("want YYYY-MM-DD HH:MM:SS.ffffff in UTC, have %.60s", raw)}
}

// fixedTime reads the 26 bytes that the SDK writes.
func fixedTime(s string) (int64, bool) {
	if len(s) != 26 || s[4] != '-' || s[7] != '-' || s[10] != ' ' || s[13] != ':' || s[16] != ':' || s[19] != '.' {
		return 0, false
	}
	ok := true
	num := func(from, to int) int {
		n := 0
		for i := from; i < to; i++ {
			ok = ok && s[i] >= '0' && s[i] <= '9'
			n = n*10 + int(s[i]-'0')
		}
		return n
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	h, m, sec, micro := num(11, 13), num(14, 16), num(17, 19), num(20, 26)
	if !ok || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || h > 23 || m > 59 || sec > 59 {
		return 0, false
	}
	return (((dayNumber(year, month, day)*24+int64(h))*60+int64(m))*60+int64(sec))*1_000_000 + int64(micro), true
}

func daysIn(year, month int) int {
	switch {
	case month != 2:
		return 30 + (month+month/8)%2
	case year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	}
	return 28
}

// dayNumber counts days from 1970-01-01 in the Gregorian calendar, for years
// from 1 on: years begin in March, so that the leap day is the last of one.
func dayNumber(year, month, day int) int64 {
	if month < 3 {
		year--
		month += 12
	}
	days := 365*year + year/4 - year/100 + year/400 // before this March
	days += (153*(month-3)+2)/5 + day - 1           // months from March have 31, 30, 31, 30, 31 days, and again
	return int64(days - 719468)                     // 0000-03-01 to 1970-01-01
}

func nonFinite(field string) *event.FieldError {
	return &event.FieldError{Field: field, Reason: event.ReasonValue, Detail: "want a finite number, have NaN or Infinity"}
}

// hole reports whether the value just read was NaN or Infinity.
func (d *decoder) hole() bool {
	if len(d.holes) == 0 {
		return false
	}
	at := d.json.InputOffset()
	for _, h := range d.holes {
		if h == at {
			return true
		}
	}
	return false
}

// plug writes a string of the same length over every NaN, Infinity and
// -Infinity that stands outside of strings, so that one such value spoils its
// event and not the JSON around it, and appends where each ends.
func plug(body []byte, holes []int64) []int64 {
	if !bytes.Contains(body, []byte("NaN")) && !bytes.Contains(body, []byte("Infinity")) {
		return holes
	}
	inString := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == 'N' || c == 'I' || c == '-':
			n := 0
			for _, lit := range []string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(body[i:], []byte(lit)) {
					n = len(lit)
				}
			}
			if n == 0 {
				continue
			}
			for j := i; j < i+n; j++ {
				body[j] = 'x'
			}
			body[i], body[i+n-1] = '"', '"'
			i += n - 1
			holes = append(holes, int64(i+1))
		}
	}
	return holes
}

// valueStart is where the next value begins: behind white space and a comma.
func valueStart(body []byte, at int64) int64 {
	for at < int64(len(body)) {
		switch body[at] {
		case ' ', '\t', '\r', '\n', ',':
			at++
		default:
			return at
		}
	}
	return at
}
