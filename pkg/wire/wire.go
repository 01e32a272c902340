// Package wire holds what the decoders of foreign formats share: the outcome
// of a request, event by event, and the reading of JSON scalars.
package wire

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/event"
)

// Refusal is one event of a request that is not accepted.
type Refusal struct {
	Index  int   // position among the request's events, from 0
	Offset int64 // byte of the body at which the event starts
	Err    *event.FieldError
	Raw    []byte // the event's bytes as they came, valid as long as the body is
}

// Batch is a decoded request. Its memory is used again by the next one.
type Batch struct {
	Events  []event.Event
	Refused []Refusal
	Total   int // events seen, good and bad
	Unknown int // fields that no decoder knows, ignored
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Events, b.Refused, b.Total, b.Unknown = b.Events[:0], b.Refused[:0], 0, 0
}

// Next is the place for one more event, zero but for its tags' memory.
func (b *Batch) Next() *event.Event {
	if len(b.Events) < cap(b.Events) {
		b.Events = b.Events[:len(b.Events)+1]
	} else {
		b.Events = append(b.Events, event.Event{})
	}
	e := &b.Events[len(b.Events)-1]
	*e = event.Event{Tags: e.Tags[:0]}
	return e
}

// Drop takes the last event back.
func (b *Batch) Drop() { b.Events = b.Events[:len(b.Events)-1] }

// SyntaxError says where a body stops being what the wire asks for.
type SyntaxError struct {
	Offset int64
	Detail string
}

// Error is the detail and the byte offset.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s (at byte %d)", e.Detail, e.Offset)
}

// Syntax makes a SyntaxError of a decoder's error.
func Syntax(dec *jsontext.Decoder, err error) error {
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		detail := "not valid JSON"
		if s.Err != nil {
			detail += ": " + s.Err.Error()
		}
		return &SyntaxError{Offset: s.ByteOffset, Detail: detail}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &SyntaxError{Offset: dec.InputOffset(), Detail: "the body ends too early"}
	}
	return &SyntaxError{Offset: dec.InputOffset(), Detail: err.Error()}
}

// The readers below take the raw text of one JSON value that a decoder has
// checked. What they return shares its memory, so a request costs one copy of
// its body and no allocation per field.

// Text is the content of a raw JSON string.
func Text(raw string) string {
	if s := raw[1 : len(raw)-1]; strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out, _ := jsontext.AppendUnquote(nil, raw) // the decoder has checked it
	return string(out)
}

// Kind is the kind of a raw JSON value.
func Kind(raw string) jsontext.Kind {
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return jsontext.Kind(c)
	}
	return '0'
}

// wrongType is the error of a field with a value of another type.
func wrongType(field, want, raw string) *event.FieldError {
	return &event.FieldError{Field: field, Reason: event.ReasonType, Detail: "want " + want + ", have " + kindName(Kind(raw))}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a bool"
	case 'n':
		return "null"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "nothing"
}

// String reads a string; null is "".
func String(field, raw string) (string, *event.FieldError) {
	switch raw[0] {
	case '"':
		return Text(raw), nil
	case 'n':
		return "", nil
	}
	return "", wrongType(field, "a string", raw)
}

// ID reads an id: a string, or a whole number as its decimal text; null is "".
func ID(field, raw string) (string, *event.FieldError) {
	switch Kind(raw) {
	case '"':
		return Text(raw), nil
	case 'n':
		return "", nil
	case '0':
		if whole(raw) {
			return raw, nil
		}
		return "", &event.FieldError{Field: field, Reason: event.ReasonValue, Detail: "want a string or a whole number, have " + clip(raw)}
	}
	return "", wrongType(field, "a string", raw)
}

// Value reads a KPI value: a number, or its text in a string; null is 1.
func Value(field, raw string) (int64, event.Flags, *event.FieldError) {
	text := raw
	switch Kind(raw) {
	case '0':
	case '"':
		text = Text(raw)
	case 'n':
		return event.MicroPerUnit, 0, nil
	default:
		return 0, 0, wrongType(field, "a number", raw)
	}
	micro, flags, err := event.ParseValue(text)
	if err != nil {
		return 0, 0, &event.FieldError{Field: field, Reason: event.ReasonValue, Detail: "want a finite number, have " + clip(text)}
	}
	return micro, flags, nil
}

// whole says that a JSON number has neither fraction nor exponent.
func whole(raw string) bool {
	for i := range len(raw) {
		if c := raw[i]; c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}

// Tag reads the value of the tag called group.key; ok is false for null, which
// is no tag at all.
func Tag(group, key, raw string) (v event.TagValue, ok bool, err *event.FieldError) {
	switch Kind(raw) {
	case '"':
		return event.StringTag(Text(raw)), true, nil
	case 't':
		return event.BoolTag(true), true, nil
	case 'f':
		return event.BoolTag(false), true, nil
	case 'n':
		return v, false, nil
	case '0':
		if whole(raw) {
			if i, err := strconv.ParseInt(raw, 10, 64); err == nil {
				return event.IntTag(i), true, nil
			}
		}
		f, err := strconv.ParseFloat(raw, 64)
		if err != nil { // beyond a float's range: keep its text
			return event.StringTag(raw), true, nil
		}
		return event.FloatTag(f), true, nil
	}
	return v, false, wrongType(group+"."+key, "a string, number or bool", raw)
}

func clip(s string) string {
	const most = 40
	if len(s) > most {
		return fmt.Sprintf("%.*q…", most, s)
	}
	return strconv.Quote(s)
}
