package event

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
)

// TagKind is the type of a tag's value.
type TagKind uint8

// The types that a tag's value may have.
const (
	TagString TagKind = iota
	TagInt
	TagFloat
	TagBool
)

// TagValue is a string, a number or a bool. Integers are exact to 64 bits;
// the zero value is the empty string.
type TagValue struct {
	kind TagKind
	str  string
	bits uint64
}

// StringTag, IntTag, FloatTag and BoolTag make values.
func StringTag(s string) TagValue { return TagValue{kind: TagString, str: s} }

// IntTag makes an integer value.
func IntTag(i int64) TagValue { return TagValue{kind: TagInt, bits: uint64(i)} }

// FloatTag makes a floating-point value.
func FloatTag(f float64) TagValue { return TagValue{kind: TagFloat, bits: math.Float64bits(f)} }

// BoolTag makes a bool value.
func BoolTag(b bool) TagValue {
	v := TagValue{kind: TagBool}
	if b {
		v.bits = 1
	}
	return v
}

// Kind says which type the value has.
func (v TagValue) Kind() TagKind { return v.kind }

// Str is the value of a TagString.
func (v TagValue) Str() string { return v.str }

// Int is the value of a TagInt.
func (v TagValue) Int() int64 { return int64(v.bits) }

// Float is the value of a TagFloat.
func (v TagValue) Float() float64 { return math.Float64frombits(v.bits) }

// Bool is the value of a TagBool.
func (v TagValue) Bool() bool { return v.bits != 0 }

// Text is the value as the warehouse stores it: strings as they are, numbers
// in their shortest decimal form, bools as true and false.
func (v TagValue) Text() string {
	switch v.kind {
	case TagInt:
		return strconv.FormatInt(v.Int(), 10)
	case TagFloat:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case TagBool:
		return strconv.FormatBool(v.Bool())
	}
	return v.str
}

func (v TagValue) appendCanonical(b []byte) []byte {
	b = append(b, byte(v.kind))
	if v.kind == TagString {
		return appendString(b, v.str)
	}
	return binary.LittleEndian.AppendUint64(b, v.bits)
}

// Tag is one key and value that an SDK attached to an event.
type Tag struct {
	Key   string
	Value TagValue
}

// SortTags brings tags into the one order that identity and encoding rely on.
// Of a key that occurs twice the last value stands, as in JSON readers.
func SortTags(tags []Tag) []Tag {
	if len(tags) > manyTags {
		slices.SortStableFunc(tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	} else {
		for i := 1; i < len(tags); i++ {
			t, j := tags[i], i
			for ; j > 0 && t.Key < tags[j-1].Key; j-- {
				tags[j] = tags[j-1]
			}
			if j < i {
				tags[j] = t
			}
		}
	}
	out := tags[:0]
	for i := range tags {
		if i+1 < len(tags) && tags[i+1].Key == tags[i].Key {
			continue
		}
		if len(out) == i {
			out = tags[:i+1]
			continue
		}
		out = append(out, tags[i])
	}
	return out
}

// manyTags is where sorting by insertion, the fastest for the few tags that
// events have, stops being so.
const manyTags = 12
