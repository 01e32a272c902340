package assign

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hypostream/hypostream/pkg/event"
)

// Limits of a condition. Python itself refuses 200 nested parentheses.
const (
	maxConditionBytes = 4096
	maxConditionDepth = 50
)

// ConditionError says why a condition is refused, and where.
type ConditionError struct {
	Pos    int // bytes from the beginning of the text
	Detail string
}

// Error is "position N: detail", counted from 1.
func (e *ConditionError) Error() string { return fmt.Sprintf("position %d: %s", e.Pos+1, e.Detail) }

// Condition is a parsed targeting condition. It is safe for concurrent use.
type Condition struct {
	root node
}

// ParseCondition reads a condition over the named tags:
//
//	country in ('fr', 'de') and not is_staff and 18 <= age < 65
//
// It has comparisons (which chain), in and not in, and, or, not, parentheses,
// strings, numbers, True and False, lists and tuples, the names of tags, and
// user_id and visitor_id. "" lets everyone in.
//
// The HypoTest SDK hands this text to Python's eval, so what is accepted here
// means what it means there, and what Python would take but a server cannot
// (calls, attributes, arithmetic) is refused. General expression languages have
// truths of their own ("1 == True", a chained comparison, a str below an int),
// hence this parser.
//
// The SDK makes the names of tags readable by replacing them in the text, as
// plain substrings and in the order of the list, by tags['name']. A text that
// this would break is refused: a tag's name inside another's, inside a keyword,
// or inside a literal.
//
// The error is a *ConditionError.
func ParseCondition(text string, tags []string) (*Condition, error) {
	if text == "" {
		text = "True" // what SDKs are sent
	}
	if len(text) > maxConditionBytes {
		return nil, &ConditionError{maxConditionBytes, fmt.Sprintf("%d bytes, at most %d are accepted", len(text), maxConditionBytes)}
	}
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	if err := checkReplacing(text, toks, tags); err != nil {
		return nil, err
	}
	p := parser{toks: toks, known: tags, slots: map[string]int{}}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, &ConditionError{t.pos, fmt.Sprintf("%s is not expected here", t)}
	}
	if pos, what := notBool(root); what != "" {
		return nil, &ConditionError{pos, "a condition is true or false, but this may yield " + what}
	}
	return &Condition{root}, nil
}

// sdkName reports whether a name is a variable of the SDK's own, which it does
// not replace.
func sdkName(s string) bool { return s == "user_id" || s == "visitor_id" }

// checkReplacing does what the SDK does to the text and compares with what it
// should have become.
func checkReplacing(text string, toks []token, tags []string) error {
	declared := map[string]bool{}
	for i, t := range tags {
		switch {
		case t == "":
			return &ConditionError{0, "a tag has an empty name"}
		case !sdkName(t) && declared[t]:
			return &ConditionError{0, fmt.Sprintf("tag %q is listed twice, and SDKs would replace it twice", t)}
		case len(t) > event.MaxNameBytes:
			return &ConditionError{0, fmt.Sprintf("tag %d: %d bytes, at most %d are accepted", i, len(t), event.MaxNameBytes)}
		case !utf8.ValidString(t):
			return &ConditionError{0, fmt.Sprintf("tag %d is not valid UTF-8", i)}
		}
		declared[t] = true
	}
	var want strings.Builder
	end := 0
	for _, t := range toks {
		if t.kind == tokName && declared[t.text] && !sdkName(t.text) {
			want.WriteString(text[end:t.pos] + "tags['" + t.text + "']")
			end = t.pos + len(t.text)
		}
	}
	want.WriteString(text[end:])
	got := text
	for _, t := range tags {
		if !sdkName(t) {
			if len(got) > 16*maxConditionBytes { // replacing within replacements grows without bound
				break
			}
			got = strings.ReplaceAll(got, t, "tags['"+t+"']")
		}
	}
	if got == want.String() {
		return nil
	}
	for _, t := range tags {
		if sdkName(t) {
			continue
		}
		for at := 0; ; at++ {
			i := strings.Index(text[at:], t)
			if i < 0 {
				break
			}
			at += i
			if in, ok := within(toks, at, t); !ok {
				return &ConditionError{at, fmt.Sprintf("SDKs replace the tag %q by plain text, also here, within %s: rename the tag", t, in)}
			}
		}
	}
	return &ConditionError{0, "SDKs replace the names of tags one after the other by tags['name'], and one of these occurs in what another is replaced by: rename the tag"}
}

// within finds the token that the occurrence of a tag's name lies in; ok is
// whether it is that tag itself.
func within(toks []token, at int, name string) (in string, ok bool) {
	for _, t := range toks {
		if t.kind != tokEnd && at >= t.pos && at < t.end {
			return t.String(), t.kind == tokName && t.pos == at && t.text == name
		}
	}
	return "the text", false
}

// Eval says whether the condition lets somebody with these tags in. value gives
// a tag, or user_id or visitor_id, by name. An error is what Python would
// raise: a tag that is missing, a comparison of a str with a number, a result
// that is no bool. The SDK then shows control and reports the error.
func (c *Condition) Eval(value func(name string) (event.TagValue, bool)) (bool, error) {
	v, err := c.root.eval(value)
	if err != nil {
		return false, err
	}
	if v.kind != kindBool {
		return false, fmt.Errorf("the condition yields %s, not True or False", v.typeName())
	}
	return v.num.i != 0, nil
}

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokWord // a keyword
	tokOp
	tokLiteral
)

type token struct {
	kind     tokenKind
	pos, end int
	text     string // of names, keywords and operators
	lit      val
	raw      string
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end of the condition"
	case tokLiteral:
		return t.raw
	}
	return strconv.Quote(t.text)
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lex(s string) ([]token, error) {
	if !utf8.ValidString(s) {
		return nil, &ConditionError{0, "not valid UTF-8"}
	}
	var out []token
	for i := 0; ; {
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		if i == len(s) {
			return append(out, token{kind: tokEnd, pos: i, end: i}), nil
		}
		t, err := lexOne(s, i)
		if err != nil {
			return nil, err
		}
		t.pos, t.raw = i, s[i:t.end]
		out = append(out, t)
		i = t.end
	}
}

func lexOne(s string, i int) (token, error) {
	c := s[i]
	switch {
	case isDigit(c):
		return lexNumber(s, i)
	case isWord(c):
		end := i
		for end < len(s) && isWord(s[end]) {
			end++
		}
		t := token{kind: tokName, text: s[i:end], end: end}
		switch t.text {
		case "and", "or", "not", "in":
			t.kind = tokWord
		case "True", "False":
			t.kind, t.lit = tokLiteral, boolVal(t.text == "True")
		}
		return t, nil
	case c == '\'' || c == '"':
		return lexString(s, i)
	}
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", "-", "+"} {
		if strings.HasPrefix(s[i:], op) {
			return token{kind: tokOp, text: op, end: i + len(op)}, nil
		}
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	if c == '=' {
		return token{}, &ConditionError{i, "\"=\" is not known; equality is \"==\""}
	}
	return token{}, &ConditionError{i, fmt.Sprintf("%q is not known here", r)}
}

// lexNumber takes what JSON takes for a number, sign apart; Python reads it the
// same.
func lexNumber(s string, i int) (token, error) {
	digits := func(at int) int {
		for at < len(s) && isDigit(s[at]) {
			at++
		}
		return at
	}
	end := digits(i)
	if s[i] == '0' && end > i+1 {
		return token{}, &ConditionError{i, "a number must not start with 0"}
	}
	float := false
	if end+1 < len(s) && s[end] == '.' && isDigit(s[end+1]) {
		end, float = digits(end+1), true
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		e := end + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if e < len(s) && isDigit(s[e]) {
			end, float = digits(e), true
		}
	}
	if end < len(s) && (isWord(s[end]) || s[end] == '.') {
		return token{}, &ConditionError{end, "a number such as 12, 1.5 or 2e6 must end here"}
	}
	t := token{kind: tokLiteral, end: end}
	if float {
		f, _ := strconv.ParseFloat(s[i:end], 64) // beyond the range it is inf, in Python too
		t.lit = floatVal(f)
		return t, nil
	}
	n, err := strconv.ParseInt(s[i:end], 10, 64)
	if err != nil {
		return token{}, &ConditionError{i, "the integer has more than 64 bits"}
	}
	t.lit = intVal(n)
	return t, nil
}

func lexString(s string, i int) (token, error) {
	var b strings.Builder
	for j := i + 1; j < len(s); j++ {
		switch c := s[j]; {
		case c == s[i]:
			return token{kind: tokLiteral, lit: strVal(b.String()), end: j + 1}, nil
		case c == '\\':
			j++
			if j == len(s) || !strings.ContainsRune(`\'"`, rune(s[j])) {
				return token{}, &ConditionError{j - 1, `after \ only \, ' and " are accepted`}
			}
			b.WriteByte(s[j])
		case c < ' ' && c != '\t' || c == 0x7f:
			return token{}, &ConditionError{j, "control characters are not accepted"}
		default:
			b.WriteByte(c)
		}
	}
	return token{}, &ConditionError{i, "the string has no end"}
}

type parser struct {
	toks  []token
	at    int
	depth int
	known []string
	slots map[string]int // names in use, numbered from 1
}

func (p *parser) peek() token { return p.toks[p.at] }

func (p *parser) is(text string) bool {
	t := p.peek()
	return (t.kind == tokWord || t.kind == tokOp) && t.text == text
}

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxConditionDepth {
		return &ConditionError{p.peek().pos, fmt.Sprintf("nested more than %d deep", maxConditionDepth)}
	}
	return nil
}

func (p *parser) or() (node, error) {
	return p.chain("or", func() (node, error) { return p.chain("and", p.not) })
}

func (p *parser) chain(word string, next func() (node, error)) (node, error) {
	first, err := next()
	if err != nil || !p.is(word) {
		return first, err
	}
	n := logic{or: word == "or", items: []node{first}}
	for p.accept(word) {
		item, err := next()
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	return n, nil
}

func (p *parser) not() (node, error) {
	if !p.accept("not") {
		return p.comparison()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	return negation{x}, err
}

func (p *parser) comparison() (node, error) {
	first, err := p.operand()
	if err != nil {
		return nil, err
	}
	n := comparison{first: first}
	for {
		op := p.comparator()
		if op == "" {
			break
		}
		x, err := p.operand()
		if err != nil {
			return nil, err
		}
		n.ops, n.rest = append(n.ops, op), append(n.rest, x)
	}
	if len(n.ops) == 0 {
		return first, nil
	}
	return n, nil
}

func (p *parser) comparator() string {
	t := p.peek()
	switch {
	case t.kind == tokOp && strings.Contains("== != <= >= < >", t.text):
		p.at++
		return t.text
	case p.accept("in"):
		return "in"
	case p.is("not") && p.toks[p.at+1].kind == tokWord && p.toks[p.at+1].text == "in":
		p.at += 2
		return "not in"
	}
	return ""
}

func (p *parser) operand() (node, error) {
	t := p.peek()
	switch {
	case t.kind == tokLiteral:
		p.at++
		return literal{t.pos, t.lit}, nil
	case t.kind == tokName:
		p.at++
		return p.name(t)
	case p.is("-") || p.is("+"):
		p.at++
		l := p.peek()
		if l.kind != tokLiteral || l.lit.kind != kindInt && l.lit.kind != kindFloat {
			return nil, &ConditionError{l.pos, "a number is expected after " + strconv.Quote(t.text)}
		}
		p.at++
		if t.text == "-" {
			l.lit.num.i, l.lit.num.f = -l.lit.num.i, -l.lit.num.f
		}
		return literal{t.pos, l.lit}, nil
	case p.is("("), p.is("["):
		return p.bracket()
	}
	return nil, &ConditionError{t.pos, fmt.Sprintf("%s stands where a tag or a value is expected", t)}
}

func (p *parser) name(t token) (node, error) {
	known := sdkName(t.text)
	for _, k := range p.known {
		known = known || k == t.text
	}
	if !known {
		return nil, &ConditionError{t.pos, fmt.Sprintf("%q is not among the tags that the experiment lists", t.text)}
	}
	if p.slots[t.text] == 0 {
		p.slots[t.text] = len(p.slots) + 1
	}
	return variable{t.pos, t.text, p.slots[t.text]}, nil
}

// bracket is a parenthesised expression, a tuple or a list.
func (p *parser) bracket() (node, error) {
	open := p.peek()
	p.at++
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	n := sequence{pos: open.pos, list: open.text == "["}
	closing := ")"
	if n.list {
		closing = "]"
	}
	comma := false
	for !p.accept(closing) {
		if len(n.items) > 0 && !comma {
			t := p.peek()
			return nil, &ConditionError{t.pos, fmt.Sprintf("%s stands where %q is expected", t, closing)}
		}
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, x)
		comma = p.accept(",")
	}
	if !n.list && len(n.items) == 1 && !comma {
		return n.items[0], nil
	}
	return n, nil
}
