package codec

import (
	"encoding/binary"
	"math"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// Decoder reads messages. It keeps the strings that recur (projects,
// experiments, variants, KPI names, tag keys) so that a hot loop does not
// allocate them anew; it belongs to one goroutine.
type Decoder struct {
	codec *Codec
	names map[string]string
}

// Bounds of the kept strings: names are few and short, and what are not names
// (a client may put anything there) must not grow it for ever.
const (
	maxNames     = 4096
	maxNameBytes = 256
)

// NewDecoder makes a decoder for one goroutine.
func (c *Codec) NewDecoder() *Decoder { return &Decoder{codec: c, names: map[string]string{}} }

func (d *Decoder) name(b []byte) string {
	if len(b) > maxNameBytes {
		return string(b)
	}
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if len(d.names) >= maxNames {
		clear(d.names)
	}
	s := string(b)
	d.names[s] = s
	return s
}

// Event reads one event into e; e.Tags' memory is used again. The error is a
// *DecodeError when the message is at fault, and wraps ErrRegistry when a
// schema could not be asked for.
func (d *Decoder) Event(value []byte, e *event.Event) error {
	r, body, foreign, err := d.codec.frame(value)
	if err != nil {
		return err
	}
	if r > match {
		return malformed("the message is a %s, not an event", files[r])
	}
	if foreign != nil {
		return foreignEvent(foreign, r, body, e)
	}
	tags := e.Tags[:0]
	*e = event.Event{Kind: event.Kind(r)}
	c := cursor{b: body}
	copy(e.ID[:], c.take(16))
	e.Project = d.name(c.bytes())
	e.UserID = string(c.bytes())
	e.VisitorID = string(c.bytes())
	e.Time = c.long()
	e.ReceivedAt = c.long()
	e.Flags = event.Flags(c.long())
	e.Tags = d.tags(&c, tags)
	switch e.Kind {
	case event.Exposure:
		e.Experiment = d.name(c.bytes())
		e.Variant = d.name(c.bytes())
		e.OverrideReason = d.name(c.bytes())
		e.SDKError = d.name(c.bytes())
	case event.KPI:
		e.Name = d.name(c.bytes())
		e.ValueMicro = c.long()
		e.SDKError = d.name(c.bytes())
	case event.Match:
		e.Context = d.name(c.bytes())
	}
	return c.end()
}

func (d *Decoder) tags(c *cursor, tags []event.Tag) []event.Tag {
	for {
		n := c.long()
		if n < 0 { // a block with its size in bytes
			n = -n
			c.long()
		}
		if n == 0 || c.bad {
			return tags
		}
		for range n {
			key := d.name(c.bytes())
			var v event.TagValue
			switch c.long() {
			case branchString:
				v = event.StringTag(string(c.bytes()))
			case branchLong:
				v = event.IntTag(c.long())
			case branchDouble:
				if b := c.take(8); b != nil {
					v = event.FloatTag(math.Float64frombits(binary.LittleEndian.Uint64(b)))
				}
			case branchBool:
				if b := c.take(1); b != nil {
					v = event.BoolTag(b[0] != 0)
				}
			default:
				c.bad = true
			}
			if c.bad {
				return tags
			}
			tags = append(tags, event.Tag{Key: key, Value: v})
		}
	}
}

// Entry reads one registry entry.
func (d *Decoder) Entry(value []byte) (experiment.Entry, error) {
	r, body, foreign, err := d.codec.frame(value)
	if err != nil {
		return experiment.Entry{}, err
	}
	if r != entry {
		return experiment.Entry{}, malformed("the message is a %s, not a registry entry", files[r])
	}
	if foreign != nil {
		return foreignEntry(foreign, body)
	}
	c := cursor{b: body}
	x := experiment.Entry{
		Subject: experiment.Subject(c.bytes()), Project: string(c.bytes()), Key: string(c.bytes()),
		Version: c.long(), Replaces: c.long(), Writer: string(c.bytes()), At: c.long(), Author: string(c.bytes()),
		Body: append([]byte(nil), c.bytes()...),
	}
	return x, c.end()
}

// DeadLetter reads one dead letter.
func (d *Decoder) DeadLetter(value []byte) (event.DeadLetter, error) {
	r, body, foreign, err := d.codec.frame(value)
	if err != nil {
		return event.DeadLetter{}, err
	}
	if r != letter {
		return event.DeadLetter{}, malformed("the message is a %s, not a dead letter", files[r])
	}
	if foreign != nil {
		return foreignLetter(foreign, body)
	}
	c := cursor{b: body}
	x := event.DeadLetter{
		At: c.long(), Stage: string(c.bytes()), Project: string(c.bytes()), Reason: event.Reason(c.bytes()),
		Field: string(c.bytes()), Detail: string(c.bytes()), Topic: string(c.bytes()),
		Partition: int32(c.long()), Offset: c.long(), Original: append([]byte(nil), c.bytes()...),
	}
	return x, c.end()
}

// cursor reads Avro's primitives without copying. Once bad it gives zeros, so
// a record is read straight through and asked at its end.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

func (c *cursor) end() error {
	if c.bad {
		return malformed("the record is cut short or damaged, at byte %d of %d", c.at, len(c.b))
	}
	if c.at != len(c.b) {
		return malformed("%d bytes stand behind the record", len(c.b)-c.at)
	}
	return nil
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b)-c.at {
		c.bad = true
		return nil
	}
	b := c.b[c.at : c.at+n]
	c.at += n
	return b
}

// long reads a zigzag varint; Avro's int is one as well.
func (c *cursor) long() int64 {
	if c.bad {
		return 0
	}
	u, n := binary.Uvarint(c.b[c.at:])
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) bytes() []byte {
	n := c.long()
	if n > int64(len(c.b)) {
		c.bad = true
		return nil
	}
	return c.take(int(n))
}
