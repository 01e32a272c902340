package codec

import (
	"fmt"

	"github.com/hamba/avro/v2"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// The tags' union: string, long, double, boolean.
const (
	branchString = iota
	branchLong
	branchDouble
	branchBool
)

// AppendEvent appends the message of an event, framing and all. Tags must be
// sorted (event.SortTags), so that equal events have equal bytes. The fields
// stand in the order of the schema files.
func (c *Codec) AppendEvent(dst []byte, e *event.Event) ([]byte, error) {
	header, ok := c.headers[record(e.Kind)]
	if !ok || e.Kind > event.Match {
		return dst, fmt.Errorf("encoding: event kind %d is not known", e.Kind)
	}
	w := c.writers.Get().(*avro.Writer)
	w.Reset(nil)
	w.Write(header)
	w.Write(e.ID[:])
	w.WriteString(e.Project)
	w.WriteString(e.UserID)
	w.WriteString(e.VisitorID)
	w.WriteLong(e.Time)
	w.WriteLong(e.ReceivedAt)
	w.WriteInt(int32(e.Flags))
	if len(e.Tags) > 0 {
		w.WriteLong(int64(len(e.Tags)))
		for i := range e.Tags {
			writeTag(w, &e.Tags[i])
		}
	}
	w.WriteLong(0)
	switch e.Kind {
	case event.Exposure:
		w.WriteString(e.Experiment)
		w.WriteString(e.Variant)
		w.WriteString(e.OverrideReason)
		w.WriteString(e.SDKError)
	case event.KPI:
		w.WriteString(e.Name)
		w.WriteLong(e.ValueMicro)
		w.WriteString(e.SDKError)
	case event.Match:
		w.WriteString(e.Context)
	}
	dst = append(dst, w.Buffer()...)
	c.writers.Put(w)
	return dst, nil
}

func writeTag(w *avro.Writer, t *event.Tag) {
	w.WriteString(t.Key)
	switch t.Value.Kind() {
	case event.TagInt:
		w.WriteLong(branchLong)
		w.WriteLong(t.Value.Int())
	case event.TagFloat:
		w.WriteLong(branchDouble)
		w.WriteDouble(t.Value.Float())
	case event.TagBool:
		w.WriteLong(branchBool)
		w.WriteBool(t.Value.Bool())
	default:
		w.WriteLong(branchString)
		w.WriteString(t.Value.Str())
	}
}

// AppendEntry appends the message of a registry entry.
func (c *Codec) AppendEntry(dst []byte, x *experiment.Entry) ([]byte, error) {
	w := c.writers.Get().(*avro.Writer)
	w.Reset(nil)
	w.Write(c.headers[entry])
	w.WriteString(string(x.Subject))
	w.WriteString(x.Project)
	w.WriteString(x.Key)
	w.WriteLong(x.Version)
	w.WriteLong(x.Replaces)
	w.WriteString(x.Writer)
	w.WriteLong(x.At)
	w.WriteString(x.Author)
	w.WriteBytes(x.Body)
	dst = append(dst, w.Buffer()...)
	c.writers.Put(w)
	return dst, nil
}

// AppendDeadLetter appends the message of a dead letter.
func (c *Codec) AppendDeadLetter(dst []byte, d *event.DeadLetter) ([]byte, error) {
	w := c.writers.Get().(*avro.Writer)
	w.Reset(nil)
	w.Write(c.headers[letter])
	w.WriteLong(d.At)
	w.WriteString(d.Stage)
	w.WriteString(d.Project)
	w.WriteString(string(d.Reason))
	w.WriteString(d.Field)
	w.WriteString(d.Detail)
	w.WriteString(d.Topic)
	w.WriteInt(d.Partition)
	w.WriteLong(d.Offset)
	w.WriteBytes(d.Original)
	dst = append(dst, w.Buffer()...)
	c.writers.Put(w)
	return dst, nil
}
