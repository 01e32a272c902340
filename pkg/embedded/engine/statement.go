package engine

import (
	"strings"
)

// statement is what the server must know about an SQL text. Only the engine
// parses SQL; this looks at words outside strings, comments and brackets.
type statement struct {
	verb     string // the first word, in capitals
	format   string // of the FORMAT clause, as written
	data     int    // INSERT: where inline data begin, else -1
	formatAt int    // INSERT with data: where FORMAT stands
	settings int    // INSERT with data: where SETTINGS stands, else -1
	values   bool   // INSERT … VALUES
	totals   bool   // WITH TOTALS
	syncAt   int    // DROP … SYNC: where SYNC stands, else -1
	several  bool   // more than one statement
}

// analyse looks at an SQL text, of an INSERT with data no further than to them.
func analyse(sql string) statement {
	s := statement{data: -1, syncAt: -1, settings: -1}
	var previous, word string
	depth, ended, words := 0, false, 0
	for i := 0; i < len(sql); {
		end, isWord := token(sql, i)
		t := sql[i:end]
		at := i
		i = end
		if t == "" {
			break
		}
		if isSpace(t) {
			continue
		}
		if ended {
			s.several = true
			return s
		}
		switch t {
		case "(", "[", "{":
			depth++
			continue
		case ")", "]", "}":
			depth--
			word = t
			continue
		case ";":
			ended = true
			continue
		}
		if !isWord {
			word = t
			continue
		}
		words++
		previous, word = word, strings.ToUpper(t)
		if s.verb == "" {
			s.verb = word
			continue
		}
		if word == "TOTALS" {
			s.totals = true
		}
		if depth != 0 {
			continue
		}
		s.syncAt = -1
		insert := s.verb == "INSERT" && words > 2 && previous != "INTO" && previous != "TABLE" && previous != "FUNCTION" && previous != "."
		switch {
		case word == "SYNC" && (s.verb == "DROP" || s.verb == "DETACH"):
			s.syncAt = at
		case word == "FORMAT" && (s.verb != "INSERT" || insert):
			name := end
			for name < len(sql) {
				next, _ := token(sql, name)
				if !isSpace(sql[name:next]) {
					break
				}
				name = next
			}
			next, ok := token(sql, name)
			if !ok {
				continue
			}
			s.format = sql[name:next]
			i = next
			if insert && s.data < 0 {
				s.formatAt, s.data = at, skipToData(sql, next)
				return s
			}
		case !insert:
		case word == "SETTINGS":
			s.settings = at
		case word == "VALUES":
			s.values, s.format, s.formatAt, s.data = true, "Values", at, end
			return s
		case word == "SELECT" || word == "WITH" || word == "INFILE":
			// No inline data: a FORMAT further on is the result's or the file's.
			s.verb = "INSERT SELECT"
		}
	}
	return s
}

// skipToData passes blanks and one line end: data begin after them.
func skipToData(sql string, i int) int {
	for i < len(sql) && (sql[i] == ' ' || sql[i] == '\t' || sql[i] == '\f') {
		i++
	}
	if i < len(sql) && sql[i] == '\r' {
		i++
	}
	if i < len(sql) && sql[i] == '\n' {
		i++
	}
	return i
}

// isSpace says whether a token is blank or a comment.
func isSpace(t string) bool {
	switch {
	case t == "":
		return false
	case strings.HasPrefix(t, "--"), strings.HasPrefix(t, "/*"), t[0] == '#':
		return true
	}
	return t[0] <= ' '
}

// token returns where the token at i ends, and whether it is a bare word.
func token(sql string, i int) (end int, word bool) {
	if i >= len(sql) {
		return i, false
	}
	rest := sql[i:]
	until := func(stop string, from int) int {
		if at := strings.Index(rest[from:], stop); at >= 0 {
			return i + from + at + len(stop)
		}
		return len(sql)
	}
	switch c := rest[0]; {
	case c <= ' ':
		for i++; i < len(sql) && sql[i] <= ' '; i++ {
		}
		return i, false
	case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
		return until("\n", 0), false
	case strings.HasPrefix(rest, "/*"):
		return until("*/", 2), false
	case c == '\'' || c == '"' || c == '`':
		for i++; i < len(sql); i++ {
			if sql[i] == '\\' {
				i++
			} else if sql[i] == c {
				return i + 1, false
			}
		}
		return len(sql), false
	case c == '$':
		// A heredoc, $tag$ … $tag$.
		if n := strings.IndexByte(rest[1:], '$'); n >= 0 && strings.Trim(rest[1:1+n], wordBytes) == "" {
			return until(rest[:n+2], n+2), false
		}
	case isWordByte(c):
		for i++; i < len(sql) && isWordByte(sql[i]); i++ {
		}
		return i, true
	}
	return i + 1, false
}

const wordBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quote writes a string literal of ClickHouse.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// quoteName writes a quoted identifier.
func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
