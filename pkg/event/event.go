// Package event holds the one normalised model of what SDKs send, whatever
// wire it came by: exposures, KPIs, and matches of a visitor with a user.
//
// Times are microseconds since the Unix epoch, UTC. KPI values are exact
// integers, in millionths. Nothing here does I/O, and nothing here knows which
// experiments exist: events may come before the experiment that reads them.
package event

import (
	"math"
	"time"
)

// Kind says what an event is.
type Kind uint8

// The kinds of events. The values are part of the event id's hash and of
// stored rows: never renumber them.
const (
	Exposure Kind = 1 // an entity was shown a variant of an experiment
	KPI      Kind = 2 // an entity did something worth counting
	Match    Kind = 3 // a visitor turned out to be a user
)

// String names the kind as our own API spells it.
func (k Kind) String() string {
	switch k {
	case Exposure:
		return "exposure"
	case KPI:
		return "kpi"
	case Match:
		return "match"
	}
	return "unknown"
}

// Flags mark what was done to an event, or found about it, on its way in.
// They are stored with the row; the bits are part of the warehouse's format.
type Flags uint8

// The flags.
const (
	// TimeReplaced: the client's time was absurd (before 2000, or more than a
	// day ahead of receipt), so Time is ReceivedAt.
	TimeReplaced Flags = 1 << iota
	// ValueRounded: the KPI value was finer than a millionth and was rounded
	// half away from zero.
	ValueRounded
	// ValueClamped: the KPI value was beyond ±MaxValue and stands at that bound.
	ValueClamped
	// Fallback: the exposure's variant was not drawn by the assigner (the SDK
	// had no settings, the condition failed, ids were missing…). It is stored
	// for the health checks and never analysed.
	Fallback
	// TimeMissing: the client gave no time, so Time is ReceivedAt.
	TimeMissing
)

// MicroPerUnit is how many integer steps one unit of a KPI value has.
const MicroPerUnit = 1_000_000

// MaxValueMicro bounds a KPI value: ±9.2e12 units.
const MaxValueMicro = math.MaxInt64

// Event is one normalised event. Fields that its kind does not have are zero.
type Event struct {
	Kind    Kind
	Flags   Flags
	ID      ID     // equal for every copy of the same event
	Project string // the token's project

	UserID    string
	VisitorID string

	Time       int64 // µs UTC, when it happened, by the client's clock
	ReceivedAt int64 // µs UTC, when the server first had it

	Tags []Tag // sorted by key, keys unique

	Experiment     string // exposure
	Variant        string // exposure
	OverrideReason string // exposure: why the variant was forced, "" if it was not
	SDKError       string // exposure, KPI: what the SDK said went wrong

	Name       string // KPI
	ValueMicro int64  // KPI, in millionths

	Context string // match: where it was made ("signup")
}

// Key is the partition key: visitor before user, so that every event of a
// visitor and the match that names it lie on one partition number. It is ""
// for an event without ids.
func (e *Event) Key() string {
	if e.VisitorID != "" {
		return e.VisitorID
	}
	return e.UserID
}

// Bounds of a believable client time.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

const maxAhead = int64(24 * time.Hour / time.Microsecond)

// Receive stamps the event with its time of receipt, and puts that in place of
// a client time that is missing (0) or absurd, with the flag that says so.
// Identify must have run before: identity comes from what the client sent.
// After it, Time <= ReceivedAt + 1 day holds, on which the warehouse prunes.
func (e *Event) Receive(now int64) {
	e.ReceivedAt = now
	switch {
	case e.Time == 0:
		e.Time = now
		e.Flags |= TimeMissing
	case e.Time < earliest || e.Time > now+maxAhead:
		e.Time = now
		e.Flags |= TimeReplaced
	}
}
