// Package batch speaks our own wire, POST /v1/track: one JSON event, an array
// of them, {"events": […]}, or one event a line (NDJSON).
//
// An event is an object:
//
//	type        "exposure", "kpi" or "match"; required
//	id          the client's own id of the event, if it has one
//	user_id     string; at least one of the two, for a match both
//	visitor_id  string
//	time        RFC 3339, or whole microseconds since 1970; absent: now
//	experiment  exposure: its key
//	variant     exposure: the variant's key
//	name        kpi: its name
//	value       kpi: a number, 1 if absent
//	context     match: where it was made
//	tags        object of strings, numbers and bools
//
// Fields that are not listed are ignored and counted, so that newer clients
// can talk to older servers.
package batch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/wire"
)

// maxEvents bounds one request.
const maxEvents = 10_000

type decoder struct {
	buf  *bytes.Buffer
	json *jsontext.Decoder
	// text is a copy of the event's bytes, of which all its strings are parts.
	text string
}

var decoders = sync.Pool{New: func() any { return &decoder{buf: new(bytes.Buffer), json: new(jsontext.Decoder)} }}

// on makes the decoder read b. The outer pass is lenient about repeated names
// and bad UTF-8, which spoil an event and not its batch.
func (d *decoder) on(b []byte, lenient bool) {
	*d.buf = *bytes.NewBuffer(b)
	d.json.Reset(d.buf, jsontext.AllowDuplicateNames(lenient), jsontext.AllowInvalidUTF8(lenient))
}

func (d *decoder) free() {
	d.text = ""
	*d.buf = bytes.Buffer{}
	decoders.Put(d)
}

// value reads one value of the event and gives its raw text.
func (d *decoder) value() (string, error) {
	raw, err := d.json.ReadValue()
	end := d.json.InputOffset()
	return d.text[end-int64(len(raw)) : end], err
}

// Decode reads a request's body into b, for a project. lines says that the
// client announced NDJSON, where a broken line spoils no other; without it the
// form is told by the body. The error is a *wire.SyntaxError.
func Decode(body []byte, lines bool, project string, b *wire.Batch) error {
	outer := decoders.Get().(*decoder)
	inner := decoders.Get().(*decoder)
	defer outer.free()
	defer inner.free()
	if lines {
		return inner.lines(body, project, b)
	}
	outer.on(body, true)
	kind := outer.json.PeekKind()
	start := int64(len(body) - len(bytes.TrimLeft(body, " \t\r\n")))
	switch kind {
	case '[':
		return outer.array(inner, body, 0, project, b)
	case '{':
		raw, err := outer.json.ReadValue()
		if err != nil {
			// A first line that does not end its object is no NDJSON either.
			return wire.Syntax(outer.json, err)
		}
		if rest := bytes.TrimLeft(body[outer.json.InputOffset():], " \t\r\n"); len(rest) > 0 {
			return inner.lines(body, project, b)
		}
		if at, list := events(inner, raw); list != nil {
			outer.on(list, true)
			return outer.array(inner, list, start+at, project, b)
		}
		return inner.event(raw, start, project, b)
	case 0:
		_, err := outer.json.ReadToken()
		return wire.Syntax(outer.json, err)
	}
	return &wire.SyntaxError{Offset: start, Detail: "want an event, an array of events, or one event a line"}
}

// events finds the array of {"events": […]}: where it starts, and its bytes.
func events(d *decoder, raw []byte) (int64, []byte) {
	d.on(raw, true)
	if _, err := d.json.ReadToken(); err != nil {
		return 0, nil
	}
	for d.json.PeekKind() == '"' {
		name, err := d.json.ReadValue()
		if err != nil {
			return 0, nil
		}
		want := string(name) == `"events"`
		v, err := d.json.ReadValue()
		if err != nil {
			return 0, nil
		}
		if want && v.Kind() == '[' {
			end := d.json.InputOffset()
			return end - int64(len(v)), raw[end-int64(len(v)) : end]
		}
	}
	return 0, nil
}

// array reads a list of events that starts at byte base of the body.
func (d *decoder) array(inner *decoder, body []byte, base int64, project string, b *wire.Batch) error {
	shift := func(err error) error {
		err = wire.Syntax(d.json, err)
		var s *wire.SyntaxError
		if errors.As(err, &s) {
			s.Offset += base
		}
		return err
	}
	if _, err := d.json.ReadToken(); err != nil {
		return shift(err)
	}
	for d.json.PeekKind() != ']' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return shift(err)
		}
		end := d.json.InputOffset()
		if err := inner.event(body[end-int64(len(raw)):end], base+end-int64(len(raw)), project, b); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return shift(err)
	}
	if rest := bytes.TrimLeft(body[d.json.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return &wire.SyntaxError{Offset: base + int64(len(body)-len(rest)), Detail: "something stands behind the array"}
	}
	return nil
}

// lines reads one event a line; empty lines are none.
func (d *decoder) lines(body []byte, project string, b *wire.Batch) error {
	for at := 0; at < len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i
		}
		line := bytes.TrimSpace(body[at:end])
		if len(line) > 0 {
			lead := len(body[at:end]) - len(bytes.TrimLeft(body[at:end], " \t\r\n"))
			if err := d.event(line, int64(at+lead), project, b); err != nil {
				return err
			}
		}
		at = end + 1
	}
	if b.Total == 0 {
		return &wire.SyntaxError{Offset: int64(len(body)), Detail: "the body has no event"}
	}
	return nil
}

// event reads one event strictly; what is wrong with it refuses it alone.
func (d *decoder) event(raw []byte, offset int64, project string, b *wire.Batch) error {
	if b.Total == maxEvents {
		return &wire.SyntaxError{Offset: offset, Detail: fmt.Sprintf("more than %d events", maxEvents)}
	}
	index := b.Total
	b.Total++
	e := b.Next()
	e.Project = project
	fault, err := d.read(raw, e, b)
	if err != nil {
		var s *wire.SyntaxError
		err = wire.Syntax(d.json, err)
		errors.As(err, &s)
		fault = &event.FieldError{Field: "", Reason: event.ReasonMalformed, Detail: s.Detail}
		offset += s.Offset
	}
	if fault == nil {
		if err := e.Validate(); err != nil {
			fault = err.(*event.FieldError)
		}
	}
	if fault != nil {
		b.Drop()
		b.Refused = append(b.Refused, wire.Refusal{Index: index, Offset: offset, Err: fault, Raw: raw})
	}
	return nil
}

func (d *decoder) read(raw []byte, e *event.Event, b *wire.Batch) (fault *event.FieldError, err error) {
	d.on(raw, false)
	d.text = string(raw)
	if k := d.json.PeekKind(); k != '{' {
		if k == 0 {
			_, err := d.json.ReadToken()
			return nil, err
		}
		return &event.FieldError{Field: "event", Reason: event.ReasonType, Detail: "want an object"}, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	value, flags, id := int64(event.MicroPerUnit), event.Flags(0), ""
	var has [len(kinds)]bool
	keep := func(f *event.FieldError) {
		if fault == nil {
			fault = f
		}
	}
	for d.json.PeekKind() != '}' {
		name, err := d.value()
		if err != nil {
			return nil, err
		}
		field := wire.Text(name)
		if field == "tags" {
			f, err := d.tags(e)
			if err != nil {
				return nil, err
			}
			keep(f)
			continue
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		var f *event.FieldError
		switch field {
		case "type":
			var s string
			if s, f = wire.String(field, v); f == nil {
				e.Kind, f = kind(s)
			}
		case "id":
			id, f = wire.ID(field, v)
			if f == nil && len(id) > event.MaxIDBytes {
				f = &event.FieldError{Field: field, Reason: event.ReasonTooLong, Detail: fmt.Sprintf("%d bytes, at most %d are accepted", len(id), event.MaxIDBytes)}
			}
		case "user_id":
			e.UserID, f = wire.ID(field, v)
		case "visitor_id":
			e.VisitorID, f = wire.ID(field, v)
		case "time":
			e.Time, f = parseTime(field, v)
		case "experiment":
			e.Experiment, f = wire.String(field, v)
		case "variant":
			e.Variant, f = wire.String(field, v)
		case "name":
			e.Name, f = wire.String(field, v)
		case "value":
			value, flags, f = wire.Value(field, v)
		case "context":
			e.Context, f = wire.String(field, v)
		default:
			b.Unknown++
			continue
		}
		keep(f)
		if v[0] != 'n' {
			for i := range kinds {
				has[i] = has[i] || kinds[i].field == field
			}
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(raw[d.json.InputOffset():])) > 0 {
		return &event.FieldError{Field: "event", Reason: event.ReasonMalformed, Detail: "something stands behind the object"}, nil
	}
	if fault != nil {
		return fault, nil
	}
	if e.Kind == 0 {
		return &event.FieldError{Field: "type", Reason: event.ReasonMissing, Detail: "required: exposure, kpi or match"}, nil
	}
	if f := foreign(e.Kind, has); f != nil {
		return f, nil
	}
	if e.Kind == event.KPI {
		e.ValueMicro, e.Flags = value, flags
	}
	if id != "" {
		e.ID = event.ClientID(e.Project, e.Kind, id)
	}
	e.Tags = event.SortTags(e.Tags)
	return nil, nil
}

// kinds are the fields that only one kind of event has.
var kinds = [...]struct {
	field string
	of    event.Kind
}{
	{"experiment", event.Exposure}, {"variant", event.Exposure},
	{"name", event.KPI}, {"value", event.KPI}, {"context", event.Match},
}

// foreign finds a field that an event of this kind does not have: most likely
// its type is wrong, and to drop the field would lose what was meant.
func foreign(k event.Kind, has [len(kinds)]bool) *event.FieldError {
	for i, f := range kinds {
		if has[i] && f.of != k {
			return &event.FieldError{Field: f.field, Reason: event.ReasonValue, Detail: fmt.Sprintf("belongs to type %q, this event is of type %q", f.of, k)}
		}
	}
	return nil
}

func (d *decoder) tags(e *event.Event) (fault *event.FieldError, err error) {
	if d.json.PeekKind() != '{' {
		v, err := d.value()
		if err != nil || v[0] == 'n' {
			return nil, err
		}
		return &event.FieldError{Field: "tags", Reason: event.ReasonType, Detail: "want an object"}, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	for d.json.PeekKind() != '}' {
		name, err := d.value()
		if err != nil {
			return nil, err
		}
		key := wire.Text(name)
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		value, ok, f := wire.Tag("tags", key, v)
		switch {
		case f != nil && fault == nil:
			fault = f
		case f == nil && ok && len(e.Tags) <= event.MaxTags:
			e.Tags = append(e.Tags, event.Tag{Key: key, Value: value})
		}
	}
	_, err = d.json.ReadToken()
	return fault, err
}

func kind(s string) (event.Kind, *event.FieldError) {
	switch s {
	case "exposure":
		return event.Exposure, nil
	case "kpi":
		return event.KPI, nil
	case "match":
		return event.Match, nil
	}
	return 0, &event.FieldError{Field: "type", Reason: event.ReasonUnknown, Detail: fmt.Sprintf("%.40q is none of exposure, kpi, match", s)}
}

// parseTime reads RFC 3339 or whole microseconds since 1970.
func parseTime(field, v string) (int64, *event.FieldError) {
	switch wire.Kind(v) {
	case 'n':
		return 0, nil
	case '0':
		if t, err := strconv.ParseInt(v, 10, 64); err == nil && t != 0 {
			return t, nil
		}
	case '"':
		if t, err := time.Parse(time.RFC3339Nano, wire.Text(v)); err == nil {
			return t.UnixMicro(), nil
		}
	}
	return 0, &event.FieldError{Field: field, Reason: event.ReasonValue, Detail: fmt.Sprintf("want RFC 3339 or whole microseconds since 1970, have %.60s", v)}
}
