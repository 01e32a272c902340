package codec_test

import (
	"encoding/binary"
	"testing"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// rabin is the fingerprint of the Avro specification ("Schema Fingerprints"),
// bit by bit instead of by its table.
func rabin(s string) uint64 {
	const empty = 0xc15d213aa4d7a795
	fp := uint64(empty)
	for i := range len(s) {
		fp ^= uint64(s[i])
		for range 8 {
			if fp&1 == 1 {
				fp = fp>>1 ^ empty
			} else {
				fp >>= 1
			}
		}
	}
	return fp
}

// canonical is what the specification's rules make of the schema files, worked
// out by hand: full names, no docs, defaults or logical types, no white space.
const (
	canonicalMatch = `{"name":"io.hypostream.Match","type":"record","fields":[` +
		`{"name":"event_id","type":{"name":"io.hypostream.EventID","type":"fixed","size":16}},` +
		`{"name":"project","type":"string"},{"name":"user_id","type":"string"},{"name":"visitor_id","type":"string"},` +
		`{"name":"time","type":"long"},{"name":"received_at","type":"long"},{"name":"flags","type":"int"},` +
		`{"name":"tags","type":{"type":"map","values":["string","long","double","boolean"]}},` +
		`{"name":"context","type":"string"}]}`
	canonicalEntry = `{"name":"io.hypostream.RegistryEntry","type":"record","fields":[` +
		`{"name":"subject","type":"string"},{"name":"project","type":"string"},{"name":"key","type":"string"},` +
		`{"name":"version","type":"long"},{"name":"replaces","type":"long"},{"name":"writer","type":"string"},` +
		`{"name":"at","type":"long"},{"name":"author","type":"string"},{"name":"body","type":"string"}]}`
)

func TestFingerprintsAreThoseOfTheSpecification(t *testing.T) {
	// Apache Avro's share/test/data/schema-tests.txt: "int" has 8247732601305521295.
	if got := rabin(`"int"`); got != 8247732601305521295 {
		t.Fatalf(`the test's own fingerprint of "int" is %d`, got)
	}
	tests := []struct{ name, schema, canonical string }{
		{"a primitive", `"int"`, `"int"`},
		{"a primitive as an object", `{"type": "int"}`, `"int"`},
		{"a logical type", `{"type": "long", "logicalType": "timestamp-micros"}`, `"long"`},
		{"a decimal", `{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}`, `"bytes"`},
		{"an array of logical types", `{"type": "array", "items": {"type": "int", "logicalType": "date"}}`, `{"type":"array","items":"int"}`},
		{"a record with a doc and a default", `{"type": "record", "name": "R", "namespace": "n", "doc": "d", "fields": [{"name": "f", "type": "int", "default": 3}]}`,
			`{"name":"n.R","type":"record","fields":[{"name":"f","type":"int"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := codec.Fingerprint([]byte(tt.schema))
			if err != nil {
				t.Fatal(err)
			}
			if want := rabin(tt.canonical); binary.LittleEndian.Uint64(got[:]) != want {
				t.Errorf("fingerprint %x, want %x", binary.LittleEndian.Uint64(got[:]), want)
			}
		})
	}
}

// Any reader finds the schema by the header alone: the marker C3 01 and the
// fingerprint, least significant byte first.
func TestMessagesCarryTheirSchemasFingerprint(t *testing.T) {
	c := newCodec(t)
	match, err := c.AppendEvent(nil, &event.Event{Kind: event.Match, Project: "p", UserID: "u", VisitorID: "v"})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := c.AppendEntry(nil, &experiment.Entry{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	for canonical, msg := range map[string][]byte{canonicalMatch: match, canonicalEntry: entry} {
		want := binary.LittleEndian.AppendUint64([]byte{0xC3, 0x01}, rabin(canonical))
		if string(msg[:10]) != string(want) {
			t.Errorf("header %x, want %x", msg[:10], want)
		}
	}
}

// Worked out by hand from the specification's "Binary Encoding": zigzag
// varints, strings behind their length, a map as blocks that end with 0.
func TestBytesAreThoseOfTheSpecification(t *testing.T) {
	c := newCodec(t)
	got, err := c.AppendEvent(nil, &event.Event{
		Kind: event.Match, ID: event.ID{0: 0xAA, 15: 0xBB}, Project: "foo", VisitorID: "v", UserID: "é",
		Time: 64, ReceivedAt: -65, Flags: event.TimeMissing,
		Tags:    []event.Tag{{Key: "b", Value: event.BoolTag(true)}, {Key: "i", Value: event.IntTag(-2)}},
		Context: "",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{
		0xAA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBB, // event_id
		0x06, 'f', 'o', 'o', // project: length 3 → zigzag 6
		0x04, 0xC3, 0xA9, // user_id: two bytes of UTF-8
		0x02, 'v', // visitor_id
		0x80, 0x01, // time: 64 → 128 → 0x80 0x01, as in the specification's table
		0x81, 0x01, // received_at: -65 → 129
		0x20,                  // flags: 16 → 32
		0x04,                  // tags: a block of 2
		0x02, 'b', 0x06, 0x01, // "b": branch 3 (boolean), true
		0x02, 'i', 0x02, 0x03, // "i": branch 1 (long), -2 → 3
		0x00, // no more blocks
		0x00, // context
	}
	if string(got[10:]) != string(want) {
		t.Errorf("bytes\n%x, want\n%x", got[10:], want)
	}
}
