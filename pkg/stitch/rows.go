package stitch

import (
	"github.com/hypostream/hypostream/pkg/event"
)

// Rows are events of one kind as columns, in the order of the log. Columns
// that the kind does not have stay empty. The memory is used again after
// Reset, so that a full batch costs no allocation, and holds few pointers.
type Rows struct {
	Kind event.Kind

	Project    Names
	Key        Names    // experiment, KPI name or match context
	Anchor     []uint64 // of a match: the visitor
	User       []uint64
	ID         []event.ID
	Time       []int64 // µs UTC
	ReceivedAt []int64 // µs UTC
	Flags      []uint8
	VisitorID  Texts
	UserID     Texts
	SDKError   Names // exposures and KPIs

	Variant        Names // exposures
	OverrideReason Names // exposures

	ValueMicro []int64 // KPIs, millionths

	// Row i has the tags TagEnd[i-1] to TagEnd[i] of the two columns.
	TagEnd   []int
	TagKey   Names
	TagValue Texts

	Partition []uint16
	Offset    []int64
}

// NewRows makes empty rows of a kind.
func NewRows(kind event.Kind) *Rows { return &Rows{Kind: kind} }

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.Anchor) }

// Append adds an event that was read at a place of the log. It keeps nothing
// of the event's memory but names.
func (r *Rows) Append(e *event.Event, partition int32, offset int64) {
	r.Project.append(e.Project)
	if e.Kind == event.Match {
		r.Anchor = append(r.Anchor, Visitor(e.VisitorID))
	} else {
		r.Anchor = append(r.Anchor, Anchor(e.VisitorID, e.UserID))
	}
	r.User = append(r.User, User(e.UserID))
	r.ID = append(r.ID, e.ID)
	r.Time = append(r.Time, e.Time)
	r.ReceivedAt = append(r.ReceivedAt, e.ReceivedAt)
	r.Flags = append(r.Flags, uint8(e.Flags))
	r.VisitorID.append(e.VisitorID)
	r.UserID.append(e.UserID)
	for i := range e.Tags {
		r.TagKey.append(e.Tags[i].Key)
		r.TagValue.append(e.Tags[i].Value.Text())
	}
	r.TagEnd = append(r.TagEnd, r.TagKey.Len())
	r.Partition = append(r.Partition, uint16(partition))
	r.Offset = append(r.Offset, offset)
	switch e.Kind {
	case event.Exposure:
		r.Key.append(e.Experiment)
		r.Variant.append(e.Variant)
		r.OverrideReason.append(e.OverrideReason)
		r.SDKError.append(e.SDKError)
	case event.KPI:
		r.Key.append(e.Name)
		r.ValueMicro = append(r.ValueMicro, e.ValueMicro)
		r.SDKError.append(e.SDKError)
	case event.Match:
		r.Key.append(e.Context)
	}
}

// Reset empties the rows.
func (r *Rows) Reset() {
	for _, n := range []*Names{&r.Project, &r.Key, &r.SDKError, &r.Variant, &r.OverrideReason, &r.TagKey} {
		n.reset()
	}
	r.VisitorID.reset()
	r.UserID.reset()
	r.TagValue.reset()
	r.Anchor, r.User, r.ID = r.Anchor[:0], r.User[:0], r.ID[:0]
	r.Time, r.ReceivedAt, r.Flags = r.Time[:0], r.ReceivedAt[:0], r.Flags[:0]
	r.ValueMicro, r.TagEnd = r.ValueMicro[:0], r.TagEnd[:0]
	r.Partition, r.Offset = r.Partition[:0], r.Offset[:0]
}
