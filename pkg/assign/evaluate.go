package assign

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/hypostream/hypostream/pkg/event"
)

// kind is a value's Python type.
type kind uint8

const (
	kindNone kind = iota // only user_id and visitor_id
	kindBool
	kindInt
	kindFloat
	kindStr
	kindList
	kindTuple
)

type number struct {
	i int64 // of ints and bools
	f float64
}

// val is a Python value. Of which variable it is matters for one thing: in a
// list, Python takes an object for equal to itself, even NaN.
type val struct {
	kind  kind
	slot  int
	num   number
	str   string
	items []val
}

func boolVal(b bool) val {
	v := val{kind: kindBool}
	if b {
		v.num.i = 1
	}
	return v
}
func intVal(i int64) val     { return val{kind: kindInt, num: number{i: i}} }
func floatVal(f float64) val { return val{kind: kindFloat, num: number{f: f}} }
func strVal(s string) val    { return val{kind: kindStr, str: s} }

func (v val) typeName() string {
	return [...]string{"None", "a bool", "an int", "a float", "a str", "a list", "a tuple"}[v.kind]
}

func (v val) isNumber() bool { return v.kind == kindBool || v.kind == kindInt || v.kind == kindFloat }

func (v val) truth() bool {
	switch v.kind {
	case kindBool, kindInt:
		return v.num.i != 0
	case kindFloat:
		return v.num.f != 0
	case kindStr:
		return v.str != ""
	case kindList, kindTuple:
		return len(v.items) > 0
	}
	return false
}

type lookup = func(name string) (event.TagValue, bool)

type node interface {
	eval(lookup) (val, error)
}

type literal struct {
	pos int
	val val
}

func (n literal) eval(lookup) (val, error) { return n.val, nil }

type variable struct {
	pos  int
	name string
	slot int
}

func (n variable) eval(value lookup) (val, error) {
	t, ok := value(n.name)
	if !ok {
		if sdkName(n.name) {
			return val{kind: kindNone}, nil
		}
		return val{}, fmt.Errorf("tag %q is missing", n.name)
	}
	var v val
	switch t.Kind() {
	case event.TagInt:
		v = intVal(t.Int())
	case event.TagFloat:
		v = floatVal(t.Float())
	case event.TagBool:
		v = boolVal(t.Bool())
	default:
		v = strVal(t.Str())
	}
	v.slot = n.slot
	return v, nil
}

type logic struct {
	or    bool
	items []node
}

// eval yields an operand, as Python's and and or do, not its truth.
func (n logic) eval(value lookup) (v val, err error) {
	for _, item := range n.items {
		if v, err = item.eval(value); err != nil || v.truth() == n.or {
			return v, err
		}
	}
	return v, nil
}

type negation struct{ x node }

func (n negation) eval(value lookup) (val, error) {
	v, err := n.x.eval(value)
	return boolVal(!v.truth()), err
}

type sequence struct {
	pos   int
	list  bool
	items []node
}

func (n sequence) eval(value lookup) (val, error) {
	v := val{kind: kindTuple, items: make([]val, len(n.items))}
	if n.list {
		v.kind = kindList
	}
	for i, item := range n.items {
		var err error
		if v.items[i], err = item.eval(value); err != nil {
			return val{}, err
		}
	}
	return v, nil
}

type comparison struct {
	first node
	ops   []string
	rest  []node
}

func (n comparison) eval(value lookup) (val, error) {
	left, err := n.first.eval(value)
	if err != nil {
		return val{}, err
	}
	for i, op := range n.ops {
		right, err := n.rest[i].eval(value)
		if err != nil {
			return val{}, err
		}
		ok, err := compare(op, left, right)
		if err != nil || !ok {
			return boolVal(false), err
		}
		left = right
	}
	return boolVal(true), nil
}

func compare(op string, a, b val) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "in":
		return contains(b, a)
	case "not in":
		in, err := contains(b, a)
		return !in, err
	}
	return ordered(op, a, b)
}

// same is Python's test in containers: the same object, or equal.
func same(a, b val) bool { return a.slot != 0 && a.slot == b.slot || equal(a, b) }

func equal(a, b val) bool {
	switch {
	case a.isNumber() && b.isNumber():
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	case a.kind != b.kind:
		return false
	case a.kind == kindStr:
		return a.str == b.str
	case a.kind == kindNone:
		return true
	}
	if len(a.items) != len(b.items) {
		return false
	}
	for i := range a.items {
		if !same(a.items[i], b.items[i]) {
			return false
		}
	}
	return true
}

// contains is Python's "x in in".
func contains(in, x val) (bool, error) {
	switch in.kind {
	case kindStr:
		if x.kind != kindStr {
			return false, fmt.Errorf("%s cannot be in a str", x.typeName())
		}
		return strings.Contains(in.str, x.str), nil
	case kindList, kindTuple:
		for _, item := range in.items {
			if same(item, x) {
				return true, nil
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("nothing can be in %s", in.typeName())
}

// ordered is <, <=, > and >=.
func ordered(op string, a, b val) (bool, error) {
	switch {
	case a.isNumber() && b.isNumber():
		c, ok := compareNumbers(a, b)
		return ok && holds(op, c), nil
	case a.kind != b.kind || a.kind == kindNone:
		return false, fmt.Errorf("%s and %s cannot be ordered by %q", a.typeName(), b.typeName(), op)
	case a.kind == kindStr:
		return holds(op, strings.Compare(a.str, b.str)), nil // UTF-8 sorts as code points do
	}
	// The first items that differ decide, else the lengths.
	for i := range min(len(a.items), len(b.items)) {
		if !same(a.items[i], b.items[i]) {
			return ordered(op, a.items[i], b.items[i])
		}
	}
	return holds(op, cmp.Compare(len(a.items), len(b.items))), nil
}

func holds(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// compareNumbers compares exactly; ok is false for NaN.
func compareNumbers(a, b val) (c int, ok bool) {
	if a.kind == kindFloat && b.kind == kindFloat {
		return cmp.Compare(a.num.f, b.num.f), !math.IsNaN(a.num.f) && !math.IsNaN(b.num.f)
	}
	if a.kind == kindFloat {
		c, ok = compareNumbers(b, a)
		return -c, ok
	}
	if b.kind != kindFloat {
		return cmp.Compare(a.num.i, b.num.i), true
	}
	f := b.num.f
	switch {
	case math.IsNaN(f):
		return 0, false
	case f >= 1<<63:
		return -1, true
	case f < -1<<63:
		return 1, true
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(a.num.i, int64(whole)); c != 0 {
		return c, true
	}
	return cmp.Compare(0, f-whole), true
}

// notBool finds a part that can be the condition's result and is no bool. Of
// a tag one cannot know before.
func notBool(n node) (pos int, what string) {
	switch n := n.(type) {
	case literal:
		if n.val.kind != kindBool {
			return n.pos, n.val.typeName()
		}
	case sequence:
		if n.list {
			return n.pos, "a list"
		}
		return n.pos, "a tuple"
	case variable:
		if sdkName(n.name) {
			return n.pos, n.name + ", which is a str"
		}
	case logic:
		for _, item := range n.items {
			if pos, what := notBool(item); what != "" {
				return pos, what
			}
		}
	}
	return 0, ""
}
