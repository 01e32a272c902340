package event

import (
	"fmt"
	"unicode/utf8"
)

// Limits of one event. Sizes are bytes of UTF-8.
const (
	MaxIDBytes   = 512      // user_id, visitor_id
	MaxNameBytes = 512      // project, experiment, variant, KPI name, context, override reason
	MaxTags      = 64       // entries
	MaxTagsBytes = 8 * 1024 // all keys and values of one event together
	MaxErrBytes  = 2 * 1024 // sdk_error
)

// Reason is why an event was refused: a stable code for counters and dead
// letters.
type Reason string

// The reasons.
const (
	ReasonMissing   Reason = "missing"    // a required field is absent or empty
	ReasonTooLong   Reason = "too_long"   // a string or a list is over its limit
	ReasonType      Reason = "wrong_type" // the field has a value of another type
	ReasonValue     Reason = "bad_value"  // the type is right, the value is not
	ReasonEncoding  Reason = "encoding"   // not UTF-8
	ReasonMalformed Reason = "malformed"  // the bytes could not be read at all
	ReasonUnknown   Reason = "unknown"    // an event type that nobody knows
)

// FieldError says which field of an event is wrong, and how.
type FieldError struct {
	Field  string
	Reason Reason
	Detail string // what was found and what is accepted
}

// Error is "field: detail".
func (e *FieldError) Error() string { return e.Field + ": " + e.Detail }

// Validate reports the first thing that makes the event unacceptable, as a
// *FieldError, or nil. An exposure or KPI without any id is accepted only when
// it carries the SDK's own error: it counts in the health checks, and in
// nothing else.
func (e *Event) Validate() error {
	if err := checkString("project", e.Project, MaxNameBytes, true); err != nil {
		return err
	}
	if err := checkString("user_id", e.UserID, MaxIDBytes, false); err != nil {
		return err
	}
	if err := checkString("visitor_id", e.VisitorID, MaxIDBytes, false); err != nil {
		return err
	}
	if err := checkString("sdk_error", e.SDKError, MaxErrBytes, false); err != nil {
		return err
	}
	if err := validateTags(e.Tags); err != nil {
		return err
	}
	switch e.Kind {
	case Exposure:
		required := e.SDKError == ""
		if err := checkString("experiment", e.Experiment, MaxNameBytes, required); err != nil {
			return err
		}
		if err := checkString("variant", e.Variant, MaxNameBytes, required); err != nil {
			return err
		}
		if err := checkString("override_reason", e.OverrideReason, MaxNameBytes, false); err != nil {
			return err
		}
	case KPI:
		if err := checkString("name", e.Name, MaxNameBytes, true); err != nil {
			return err
		}
	case Match:
		if err := checkString("context", e.Context, MaxNameBytes, false); err != nil {
			return err
		}
		if e.UserID == "" {
			return missing("user_id", "a match needs both a user_id and a visitor_id")
		}
		if e.VisitorID == "" {
			return missing("visitor_id", "a match needs both a user_id and a visitor_id")
		}
		return nil
	default:
		return &FieldError{Field: "kind", Reason: ReasonUnknown, Detail: fmt.Sprintf("event kind %d is not known", e.Kind)}
	}
	if e.UserID == "" && e.VisitorID == "" && e.SDKError == "" {
		return missing("user_id", "one of user_id and visitor_id is required")
	}
	return nil
}

func missing(field, detail string) error {
	return &FieldError{Field: field, Reason: ReasonMissing, Detail: detail}
}

func checkString(field, s string, limit int, required bool) error {
	switch {
	case s == "" && required:
		return missing(field, "required, and must not be empty")
	case len(s) > limit:
		return &FieldError{Field: field, Reason: ReasonTooLong, Detail: fmt.Sprintf("%d bytes, at most %d are accepted", len(s), limit)}
	case !utf8.ValidString(s):
		return &FieldError{Field: field, Reason: ReasonEncoding, Detail: "not valid UTF-8"}
	}
	return nil
}

func validateTags(tags []Tag) error {
	if len(tags) > MaxTags {
		return &FieldError{Field: "tags", Reason: ReasonTooLong, Detail: fmt.Sprintf("%d entries, at most %d are accepted", len(tags), MaxTags)}
	}
	total := 0
	for _, t := range tags {
		total += len(t.Key) + len(t.Value.str)
		if t.Value.kind != TagString {
			total += 8
		}
		if !utf8.ValidString(t.Key) || !utf8.ValidString(t.Value.str) {
			return &FieldError{Field: "tags", Reason: ReasonEncoding, Detail: "not valid UTF-8"}
		}
	}
	if total > MaxTagsBytes {
		return &FieldError{Field: "tags", Reason: ReasonTooLong, Detail: fmt.Sprintf("%d bytes of keys and values, at most %d are accepted", total, MaxTagsBytes)}
	}
	return nil
}
