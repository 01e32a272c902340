package engine

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"
)

// atRevision encodes a block of many shapes with ch-go, which knows the
// protocol's revisions.
func atRevision(t testing.TB, revision int) []byte {
	t.Helper()
	low := new(proto.ColStr).LowCardinality()
	low.AppendArr([]string{"a", "b", "a"})
	tags := proto.NewMap[string, string](new(proto.ColStr).LowCardinality(), new(proto.ColStr))
	tags.AppendArr([]map[string]string{{"k": "v"}, {}, {"k": "w"}})
	lists := proto.NewArray(new(proto.ColStr).LowCardinality())
	lists.AppendArr([][]string{{"x"}, {}, {"y", "x"}})
	maybe := new(proto.ColStr).Nullable()
	maybe.AppendArr([]proto.Nullable[string]{proto.NewNullable("q"), proto.Null[string](), proto.NewNullable("")})
	numbers := proto.ColUInt64{1, 2, 3}
	points := proto.ColTuple{&proto.ColFloat64{1, 2, 3}, func() proto.Column { c := new(proto.ColStr); c.AppendArr([]string{"r", "s", "t"}); return c }()}
	input := []proto.InputColumn{
		{Name: "low", Data: low}, {Name: "tags", Data: tags}, {Name: "lists", Data: lists},
		{Name: "maybe", Data: maybe}, {Name: "n", Data: &numbers}, {Name: "pair", Data: points},
	}
	var buf proto.Buffer
	block := proto.Block{Columns: len(input), Rows: 3, Info: proto.BlockInfo{BucketNum: -1}}
	if err := block.EncodeBlock(&buf, revision, input); err != nil {
		t.Fatal(err)
	}
	return buf.Buf
}

func TestBlocksAreWrittenAtTheClientsRevision(t *testing.T) {
	for _, revision := range []int{54405, 54454, 54460} {
		blocks := append(atRevision(t, 0), atRevision(t, 0)...)
		want := append(atRevision(t, revision), atRevision(t, revision)...)
		var got bytes.Buffer
		if err := writeNative(&got, blocks, uint64(revision)); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("revision %d: %v\n got %q\nwant %q", revision, err, got.Bytes(), want)
		}
	}
}

func TestTypesAreReadByName(t *testing.T) {
	// One value of each, all zero bytes, must take this many.
	tests := []struct {
		name   string
		length int
	}{
		{"UInt8", 1}, {"Int256", 32}, {"DateTime64(6, 'UTC')", 8}, {"DateTime('Europe/Amsterdam')", 4}, {"FixedString(7)", 7},
		{"Decimal(9, 2)", 4}, {"Decimal(18, 2)", 8}, {"Decimal(38, 9)", 16}, {"Decimal(76, 9)", 32},
		{"Enum8('a,)' = 1, 'it\\'s (' = 2)", 1}, {"Nullable(Float64)", 9}, {"String", 1}, {"Array(String)", 8},
		{"Tuple(a UInt8, `b c` Tuple(Int16, x DateTime64(3, 'UTC')))", 11}, {"Tuple()", 1}, {"Map(String, Array(UInt64))", 8},
		{"SimpleAggregateFunction(min, Tuple(DateTime64(6, 'UTC'), String, UInt64))", 17}, {"SimpleAggregateFunction(sum, Decimal(38, 6))", 16},
		{"Point", 16}, {"Polygon", 8}, {"Nested(a UInt8, b String)", 8}, {"IntervalDay", 8}, {"Nothing", 1}, {"IPv6", 16},
	}
	for _, tt := range tests {
		shape, err := parseType(tt.name, 0)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r := &walker{data: make([]byte, 100)}
		if shape.values(r, 1); r.bad || r.at != tt.length {
			t.Errorf("a value of %s takes %d bytes (bad: %v), want %d", tt.name, r.at, r.bad, tt.length)
		}
	}
	for _, name := range []string{"AggregateFunction(uniq, UInt64)", "JSON", "Dynamic", "Variant(String)", "Array(", "Decimal(77)", "", strings.Repeat("Array(", 100) + "UInt8" + strings.Repeat(")", 100)} {
		var e *Error
		if _, err := parseType(name, 0); !errors.As(err, &e) || e.Code != codeNotImplemented {
			t.Errorf("%q: %v, want NOT_IMPLEMENTED", name, err)
		}
	}
}

func FuzzNative(f *testing.F) {
	f.Add(atRevision(f, 0))
	f.Add([]byte("\x01\x01\x01a\x0eArray(Nothing)\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x01\x00\x01a\x16LowCardinality(String)"))
	f.Fuzz(func(t *testing.T, blocks []byte) {
		var got bytes.Buffer
		if writeNative(&got, blocks, 54460) != nil {
			return
		}
		// What was added is all that may differ.
		if got.Len() < len(blocks) {
			t.Errorf("%d bytes became %d", len(blocks), got.Len())
		}
	})
}

func FuzzStatement(f *testing.F) {
	for _, sql := range []string{"INSERT INTO t (a) SETTINGS a=1 FORMAT CSV\n1", "SELECT 'a;b' -- c\n FORMAT JSON;", "DROP TABLE t SYNC", "$x$ a $x$", "INSERT INTO `f` VALUES (1)"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		s := analyse(sql)
		if s.data > len(sql) || s.data >= 0 && (s.formatAt > s.data || s.settings > s.formatAt) || s.syncAt+4 > len(sql) && s.syncAt >= 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestStatementsAreRecognised(t *testing.T) {
	tests := []struct {
		sql    string
		data   string // what follows as data; "-" for none
		format string
	}{
		{"INSERT INTO t FORMAT CSV\n1,2", "1,2", "CSV"},
		{"insert into t (a, format) settings x = 'FORMAT y' format\n CSV  \r\n 1", " 1", "CSV"},
		{"INSERT INTO values VALUES (1)", " (1)", "Values"},
		{"INSERT INTO db.format (`VALUES`) VALUES (1)", " (1)", "Values"},
		{"INSERT INTO TABLE FUNCTION file('x') VALUES (1)", " (1)", "Values"},
		{"/* INSERT */ INSERT INTO \"t\" FORMAT Native\n\x00", "\x00", "Native"},
		{"INSERT INTO t SELECT 1 FORMAT CSV", "-", "CSV"},
		{"INSERT INTO t FROM INFILE 'x' FORMAT CSV", "-", "CSV"},
		{"SELECT 'FORMAT CSV' FORMAT JSON", "-", "JSON"},
		{"SELECT format('{}', a) AS x FROM t WHERE a = 'it''s; ok' -- FORMAT CSV", "-", ""},
		{"SELECT $a$ FORMAT CSV $a$", "-", ""},
	}
	for _, tt := range tests {
		s := analyse(tt.sql)
		data := "-"
		if s.data >= 0 {
			data = tt.sql[s.data:]
		}
		if data != tt.data || s.format != tt.format || s.several {
			t.Errorf("%q: data %q, format %q, several %v; want %q, %q", tt.sql, data, s.format, s.several, tt.data, tt.format)
		}
	}
}
