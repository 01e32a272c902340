package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The library writes blocks of the Native format at protocol revision 0. A
// client that sends client_protocol_version expects, from these revisions on:
const (
	revisionBlockInfo           = 1     // a block info before each block
	revisionCustomSerialization = 54454 // a flag after each column's type: 0, the type's own serialization
)

// blockInfo is what precedes a block that is neither overflow nor bucket.
var blockInfo = []byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0}

var errMalformed = errors.New("malformed Native block")

// writeNative writes blocks of revision 0 as blocks of the given revision.
// Column data agree in both, so they are walked and copied, never decoded.
func writeNative(w io.Writer, blocks []byte, revision uint64) error {
	if revision < revisionBlockInfo {
		_, err := w.Write(blocks)
		return err
	}
	if revision < revisionCustomSerialization && len(blocks) == 0 {
		return nil
	}
	for len(blocks) > 0 {
		ends, n, err := columnHeads(blocks)
		if err != nil {
			return err
		}
		if _, err := w.Write(blockInfo); err != nil {
			return err
		}
		at := 0
		if revision >= revisionCustomSerialization {
			for _, end := range ends {
				if _, err := w.Write(blocks[at:end]); err != nil {
					return err
				}
				if _, err := w.Write([]byte{0}); err != nil {
					return err
				}
				at = end
			}
		}
		if _, err := w.Write(blocks[at:n]); err != nil {
			return err
		}
		blocks = blocks[n:]
	}
	return nil
}

// columnHeads walks one block of revision 0: where each column's type ends and
// its data begin, and the block's length.
func columnHeads(block []byte) (ends []int, length int, err error) {
	r := &walker{data: block}
	columns, rows := r.uvarint(), r.uvarint()
	// Every column takes two bytes at least, every value of one a byte or more.
	if columns > uint64(len(block)) || rows > uint64(len(block)) && columns > 0 {
		return nil, 0, errMalformed
	}
	for range columns {
		r.string()
		name := r.string()
		if r.bad {
			return nil, 0, errMalformed
		}
		t, err := parseType(string(name), 0)
		if err != nil {
			return nil, 0, err
		}
		ends = append(ends, r.at)
		if rows > 0 {
			t.prefix(r)
			t.values(r, rows)
		}
	}
	if r.bad {
		return nil, 0, errMalformed
	}
	return ends, r.at, nil
}

// walker reads forward; after a fault bad is set and it stays where it is.
type walker struct {
	data []byte
	at   int
	bad  bool
}

func (r *walker) uvarint() uint64 {
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.at += n
	return v
}

func (r *walker) uint64() uint64 {
	b := r.skip(1, 8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (r *walker) string() []byte { return r.skip(r.uvarint(), 1) }

// skip passes n values of a width and returns them.
func (r *walker) skip(n, width uint64) []byte {
	left := uint64(len(r.data) - r.at)
	if r.bad || width != 0 && n > left/width {
		r.bad = true
		return nil
	}
	from := r.at
	r.at += int(n * width)
	return r.data[from:r.at]
}

// shape is how a type's values lie in a Native column.
type shape struct {
	kind  shapeKind
	width uint64
	of    []*shape
}

type shapeKind uint8

const (
	fixed shapeKind = iota
	text
	array
	tuple
	nullable
	lowCardinality
)

// prefix passes what stands before the column's values: the versions of its
// dictionaries.
func (t *shape) prefix(r *walker) {
	if t.kind == lowCardinality {
		r.uint64()
		return
	}
	for _, of := range t.of {
		of.prefix(r)
	}
}

// values passes n values.
func (t *shape) values(r *walker, n uint64) {
	if r.bad {
		return
	}
	switch t.kind {
	case fixed:
		r.skip(n, t.width)
	case text:
		for range n {
			if r.string(); r.bad {
				return
			}
		}
	case array:
		offsets := r.skip(n, 8)
		if len(offsets) > 0 {
			n = binary.LittleEndian.Uint64(offsets[len(offsets)-8:])
		}
		t.of[0].values(r, n)
	case tuple:
		for _, of := range t.of {
			of.values(r, n)
		}
	case nullable:
		r.skip(n, 1)
		t.of[0].values(r, n)
	case lowCardinality:
		if n == 0 {
			return
		}
		// A dictionary and one index into it a value.
		const ownKeys = 1 << 9
		flags := r.uint64()
		if flags&ownKeys != 0 {
			t.of[0].values(r, r.uint64())
		}
		if flags&0xff > 3 {
			r.bad = true
			return
		}
		if r.uint64() != n {
			r.bad = true
			return
		}
		r.skip(n, 1<<(flags&0xff))
	}
}

// widths are the types of one fixed width that take no argument which matters.
var widths = map[string]uint64{
	"UInt8": 1, "UInt16": 2, "UInt32": 4, "UInt64": 8, "UInt128": 16, "UInt256": 32,
	"Int8": 1, "Int16": 2, "Int32": 4, "Int64": 8, "Int128": 16, "Int256": 32,
	"BFloat16": 2, "Float32": 4, "Float64": 8, "Bool": 1, "UUID": 16, "IPv4": 4, "IPv6": 16,
	"Date": 2, "Date32": 4, "DateTime": 4, "DateTime64": 8, "Time": 4, "Time64": 8, "Enum8": 1, "Enum16": 2,
	"Nothing": 1, "Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
}

// geo are ClickHouse's names for compound types.
var geo = map[string]string{
	"Point": "Tuple(Float64, Float64)", "Ring": "Array(Point)", "LineString": "Array(Point)",
	"MultiLineString": "Array(LineString)", "Polygon": "Array(Ring)", "MultiPolygon": "Array(Polygon)",
}

// parseType reads a type's name. A type whose values cannot be walked (the
// states of AggregateFunction, JSON, Dynamic, Variant) is an [*Error].
func parseType(name string, depth int) (*shape, error) {
	const maxDepth = 64
	name = strings.TrimSpace(name)
	base, rest, compound := strings.Cut(name, "(")
	base = strings.TrimSpace(base)
	unsupported := func() (*shape, error) {
		return nil, newError(codeNotImplemented, "NOT_IMPLEMENTED",
			fmt.Sprintf("the embedded engine cannot send the type %.200s in the Native format at a client's protocol version: cast it, or ask for another format", strconv.Quote(name)))
	}
	if depth > maxDepth {
		return unsupported()
	}
	var args []string
	if compound {
		inner, ok := strings.CutSuffix(rest, ")")
		if !ok {
			return unsupported()
		}
		args = splitTypes(inner)
	}
	if width, ok := widths[base]; ok {
		return &shape{kind: fixed, width: width}, nil
	}
	if alias, ok := geo[base]; ok {
		return parseType(alias, depth+1)
	}
	number := func(i int) uint64 {
		if i >= len(args) {
			return 0
		}
		n, err := strconv.ParseUint(strings.TrimSpace(args[i]), 10, 31)
		if err != nil {
			return 0
		}
		return n
	}
	of := func(kind shapeKind, types ...string) (*shape, error) {
		t := &shape{kind: kind}
		for _, name := range types {
			x, err := parseType(name, depth+1)
			if err != nil {
				return nil, err
			}
			t.of = append(t.of, x)
		}
		return t, nil
	}
	switch {
	case base == "String":
		return &shape{kind: text}, nil
	case strings.HasPrefix(base, "Interval") && !compound:
		return &shape{kind: fixed, width: 8}, nil
	case base == "FixedString" && number(0) > 0:
		return &shape{kind: fixed, width: number(0)}, nil
	case base == "Decimal" && len(args) > 0:
		switch p := number(0); {
		case p == 0 || p > 76:
			return unsupported()
		case p <= 9:
			return &shape{kind: fixed, width: 4}, nil
		case p <= 18:
			return &shape{kind: fixed, width: 8}, nil
		case p <= 38:
			return &shape{kind: fixed, width: 16}, nil
		default:
			return &shape{kind: fixed, width: 32}, nil
		}
	case base == "Array" && len(args) == 1:
		return of(array, args[0])
	case base == "Nullable" && len(args) == 1:
		return of(nullable, args[0])
	case base == "SimpleAggregateFunction" && len(args) >= 2:
		return parseType(args[len(args)-1], depth+1)
	case base == "Map" && len(args) == 2:
		pairs, err := of(tuple, args...)
		return &shape{kind: array, of: []*shape{pairs}}, err
	case base == "LowCardinality" && len(args) == 1:
		// The dictionary holds plain values: its first one stands for NULL.
		key := strings.TrimSpace(args[0])
		if inner, ok := strings.CutPrefix(key, "Nullable("); ok {
			key = strings.TrimSuffix(inner, ")")
		}
		return of(lowCardinality, key)
	case base == "Tuple" && compound, base == "Nested" && len(args) > 0:
		if len(args) == 0 {
			return &shape{kind: fixed, width: 1}, nil
		}
		for i := range args {
			args[i] = withoutName(args[i])
		}
		t, err := of(tuple, args...)
		if base == "Nested" {
			t = &shape{kind: array, of: []*shape{t}}
		}
		return t, err
	}
	return unsupported()
}

// scanType calls f with each byte of a list of types that stands outside
// brackets and quotes, until f returns false.
func scanType(s string, f func(i int) bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'', '`', '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '(':
			depth++
		case ')':
			depth--
		default:
			if depth == 0 && !f(i) {
				return
			}
		}
	}
}

// splitTypes splits at the commas between types.
func splitTypes(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	var parts []string
	from := 0
	scanType(s, func(i int) bool {
		if s[i] == ',' {
			parts = append(parts, s[from:i])
			from = i + 1
		}
		return true
	})
	return append(parts, s[from:])
}

// withoutName takes the name off an element of a tuple, if it has one.
func withoutName(s string) string {
	s = strings.TrimSpace(s)
	cut := 0
	scanType(s, func(i int) bool {
		if s[i] == ' ' {
			cut = i + 1
			return false
		}
		return true
	})
	return s[cut:]
}
