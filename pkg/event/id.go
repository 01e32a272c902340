package event

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/xxh3"
)

// ID is an event's identity: 128 bits, equal for every copy of one event.
type ID [16]byte

// String is the id in UUID form, as ClickHouse prints it.
func (id ID) String() string {
	h := hex.EncodeToString(id[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// IsZero reports whether no identity was given yet.
func (id ID) IsZero() bool { return id == ID{} }

// ClientID is the identity of an event that its client named itself
// (an insert id or a UUID of the wire). The project is mixed in, so that two
// projects can never meet.
func ClientID(project string, kind Kind, id string) ID {
	b := make([]byte, 0, 64)
	b = append(b, 'c', byte(kind))
	b = appendString(b, project)
	b = appendString(b, id)
	return xxh3.Hash128(b).Bytes()
}

// Identifier gives the events of one request their identities. An event whose
// ID is set keeps it; any other gets a hash of all that the client sent and of
// its ordinal among equal events of the request: a retried request repeats its
// ids, and five equal events of one request stay five.
//
// The zero value is ready for one request; Reset makes it ready for the next.
type Identifier struct {
	buf   []byte
	first ID            // the only event so far: it needs no map
	seen  map[ID]uint32 // from the second on
}

// Reset forgets the request's events.
func (x *Identifier) Reset() {
	x.first = ID{}
	if len(x.seen) > 0 {
		clear(x.seen)
	}
}

// ordinal counts an identity's events in the request, from 0.
func (x *Identifier) ordinal(id ID) uint32 {
	if x.first.IsZero() {
		x.first = id
		return 0
	}
	if len(x.seen) == 0 {
		if x.seen == nil {
			x.seen = make(map[ID]uint32, 16)
		}
		x.seen[x.first] = 1
	}
	n := x.seen[id]
	x.seen[id] = n + 1
	return n
}

// Identify sets e.ID if it is zero. It must run before Receive, which may
// change the time. When the client gave neither a time nor an id, now takes
// part: without it, equal events of different days would be one.
func (x *Identifier) Identify(e *Event, now int64) {
	if !e.ID.IsZero() {
		return
	}
	t := e.Time
	if t == 0 {
		t = now
	}
	b := append(x.buf[:0], 'h', byte(e.Kind))
	b = appendString(b, e.Project)
	b = appendString(b, e.UserID)
	b = appendString(b, e.VisitorID)
	b = binary.LittleEndian.AppendUint64(b, uint64(t))
	b = appendString(b, e.Experiment)
	b = appendString(b, e.Variant)
	b = appendString(b, e.OverrideReason)
	b = appendString(b, e.SDKError)
	b = appendString(b, e.Name)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ValueMicro))
	b = appendString(b, e.Context)
	for _, t := range e.Tags {
		b = appendString(b, t.Key)
		b = t.Value.appendCanonical(b)
	}
	id := ID(xxh3.Hash128(b).Bytes())
	if n := x.ordinal(id); n > 0 {
		b[0] = 'n' // a hash space of its own: the ordinal cannot pass for a tag
		b = binary.LittleEndian.AppendUint32(b, n)
		id = xxh3.Hash128(b).Bytes()
	}
	x.buf = b
	e.ID = id
}

// appendString writes a length first, so that no two lists of fields can
// share one byte string.
func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
