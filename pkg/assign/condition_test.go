package assign_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/assign"
	"github.com/hypostream/hypostream/pkg/event"
)

func TestConditionsThatAreRefused(t *testing.T) {
	tests := []struct {
		name, text string
		tags       []string
		pos        int // from 0
		detail     string
	}{
		{"a name that is no tag", "age > 3 and nosuch == 1", []string{"age"}, 12, `"nosuch" is not among`},
		{"a tag inside another's name", "age > 3 and page == 'x'", []string{"age", "page"}, 13, `"age"`},
		{"the same, listed the other way round", "age > 3 and page == 'x'", []string{"page", "age"}, 13, `"age"`},
		{"a tag inside a literal", "city == 'capacity'", []string{"city"}, 13, `"city"`},
		{"a tag inside a keyword", "d == 1 and d == 2", []string{"d"}, 9, `"d"`},
		{"a tag inside True", "True", []string{"ru"}, 1, `"ru"`},
		{"a tag inside the True that stands for no condition", "", []string{"T"}, 0, `"T"`},
		{"a tag inside user_id", "user_id == 'x'", []string{"user"}, 0, `"user"`},
		{"a tag inside what another is replaced by", "country == 'x' and tags == 1", []string{"country", "tags"}, 0, "rename"},
		{"a tag listed twice", "age > 3", []string{"age", "age"}, 0, "twice"},
		{"a tag without a name", "True", []string{""}, 0, "empty name"},
		{"a number at the end", "age and 3", []string{"age"}, 8, "an int"},
		{"a str", "'yes'", nil, 0, "a str"},
		{"a tuple by accident", "(True, False)", nil, 0, "a tuple"},
		{"an id as a truth", "user_id", nil, 0, "user_id"},
		{"an assignment", "age = 3", []string{"age"}, 4, `"=="`},
		{"a call", "len(age) > 3", []string{"age"}, 0, `"len"`},
		{"an attribute", "age.real == 1", []string{"age"}, 3, "'.'"},
		{"arithmetic", "age + 1 > 3", []string{"age"}, 4, `"+"`},
		{"two operands", "age > 3 4", []string{"age"}, 8, "4"},
		{"nothing after an operator", "age >", []string{"age"}, 5, "the end"},
		{"an open parenthesis", "(age > 3", []string{"age"}, 8, `")"`},
		{"an open string", "age == 'x", []string{"age"}, 7, "no end"},
		{"joined strings", "age == 'x' 'y'", []string{"age"}, 11, "'y'"},
		{"an escape that Python reads its own way", `age == '\d'`, []string{"age"}, 8, `\`},
		{"a leading zero", "age == 012", []string{"age"}, 7, "start with 0"},
		{"an integer beyond 64 bits", "age == 9223372036854775808", []string{"age"}, 7, "64 bits"},
		{"a line break", "age == 1\nor True", []string{"age"}, 8, `'\n'`},
		{"not as an operand", "age == not True", []string{"age"}, 7, `"not"`},
		{"a text that is too long", strings.Repeat(" ", 5000), nil, 4096, "5000 bytes"},
		{"deep nesting", strings.Repeat("(", 60) + "True" + strings.Repeat(")", 60), nil, 51, "50 deep"},
		{"deep negation", strings.Repeat("not ", 60) + "True", nil, 204, "50 deep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := assign.ParseCondition(tt.text, tt.tags)
			var c *assign.ConditionError
			if !errors.As(err, &c) {
				t.Fatalf("error %v, want a *ConditionError", err)
			}
			if c.Pos != tt.pos || !strings.Contains(c.Detail, tt.detail) {
				t.Errorf("at %d: %s; want at %d, with %q", c.Pos, c.Detail, tt.pos, tt.detail)
			}
		})
	}
}

func TestConditionsThatLookBadAndAreNot(t *testing.T) {
	for _, tt := range []struct {
		text string
		tags []string
	}{
		{"tags == 1 and country == 'x'", []string{"tags", "country"}}, // "tags" is replaced before its name is inserted elsewhere
		{"", nil}, {"True", []string{"country", "age"}},
		{"page == 'x'", []string{"page", "unused"}},
		{"visitor_id != 'v' and user_id in ['a']", []string{"user_id", "visitor_id", "user_id"}},
	} {
		if _, err := assign.ParseCondition(tt.text, tt.tags); err != nil {
			t.Errorf("%q with %q: %v", tt.text, tt.tags, err)
		}
	}
}

// The values are what Python 3 gives for the same text.
func TestConditionsThatPythonPeopleKnow(t *testing.T) {
	tags := map[string]event.TagValue{"n": event.IntTag(1), "s": event.StringTag("fr"), "f": event.FloatTag(0.5), "q": event.BoolTag(true)}
	tests := []struct {
		text string
		want bool
		err  bool
	}{
		{"n == True", true, false}, {"n == '1'", false, false}, {"n < '1'", false, true}, {"0 < f < n <= 1", true, false},
		{"n in (True,)", true, false}, {"'r' in s", true, false}, {"n in s", false, true}, {"s in n", false, true},
		{"s not in ['de', 'fr']", false, false}, {"q", true, false}, {"n", false, true}, {"q or absent", true, false},
		{"q and absent", false, true}, {"user_id == 'u'", false, false}, {"user_id < 'u'", false, true},
		{"9007199254740993 == 9007199254740992.0", false, false}, {"(1, 'a') < (1, 'b')", true, false}, {"[1] == (1,)", false, false},
		{"not s == 'fr'", false, false},
	}
	names := []string{"absent", "n", "s", "f", "q"}
	for _, tt := range tests {
		// One-letter tags would be mangled by the SDK, so each case lists
		// longer ones.
		text, list := tt.text, []string(nil)
		for _, n := range names {
			list = append(list, "zz"+strings.ToUpper(n))
		}
		text = rename(text, names)
		c, err := assign.ParseCondition(text, list)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		got, err := c.Eval(func(name string) (event.TagValue, bool) {
			v, ok := tags[strings.ToLower(strings.TrimPrefix(name, "zz"))]
			return v, ok
		})
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %v, %v; want %v, error %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func rename(text string, names []string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,()[]", r) })
	for _, w := range words {
		for _, n := range names {
			if w == n {
				text = replaceWord(text, n, "zz"+strings.ToUpper(n))
				break
			}
		}
	}
	return text
}

func replaceWord(text, word, by string) string {
	const edges = " ,()[]"
	for i := 0; i+len(word) <= len(text); i++ {
		before := i == 0 || strings.ContainsRune(edges, rune(text[i-1]))
		after := i+len(word) == len(text) || strings.ContainsRune(edges, rune(text[i+len(word)]))
		if before && after && text[i:i+len(word)] == word {
			text = text[:i] + by + text[i+len(word):]
			i += len(by) - 1
		}
	}
	return text
}

func FuzzParseCondition(f *testing.F) {
	for _, s := range []string{"age > 17 and country in ('fr', \"de\")", "not (a == 1)", "-1 < age <= 2e3 or True", "[", "'\\''", "((((", "1e", "a not in []"} {
		f.Add(s, "age", "country")
	}
	f.Fuzz(func(t *testing.T, text, a, b string) {
		c, err := assign.ParseCondition(text, []string{a, b})
		if err != nil {
			var ce *assign.ConditionError
			if !errors.As(err, &ce) || ce.Pos < 0 || ce.Pos > max(len(text), len("True")) {
				t.Fatalf("%q: error %#v", text, err)
			}
			return
		}
		c.Eval(func(string) (event.TagValue, bool) { return event.IntTag(1), true })
	})
}
