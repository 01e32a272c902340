package engine

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Error is an error of the engine: ClickHouse's code and text.
type Error struct {
	Code int
	Text string
}

func (e *Error) Error() string { return e.Text }

// Codes of ClickHouse that the server itself answers with.
const (
	codeTooManyQueries     = 202
	codeBadArguments       = 36
	codeAuthentication     = 516
	codeCancelled          = 394
	codeNotImplemented     = 48
	codeCannotParse        = 27
	codeUnknownCompression = 89
	codeTooLarge           = 1006
)

var errorCode = regexp.MustCompile(`^Code: (\d+)\. `)

// parseError reads the code off ClickHouse's text.
func parseError(text string) *Error {
	text = strings.TrimSpace(text)
	e := &Error{Code: 1002, Text: text}
	if m := errorCode.FindStringSubmatch(text); m != nil {
		e.Code, _ = strconv.Atoi(m[1])
	} else {
		e.Text = "Code: 1002. DB::Exception: " + text + " (UNKNOWN_EXCEPTION)"
	}
	return e
}

// newError is an error of this server in ClickHouse's form.
func newError(code int, name, text string) *Error {
	return &Error{Code: code, Text: "Code: " + strconv.Itoa(code) + ". DB::Exception: " + text + " (" + name + ")"}
}

// status is the HTTP status that ClickHouse gives an error code.
func status(code int) int {
	switch code {
	case codeAuthentication, 193, 194: // REQUIRED_PASSWORD and WRONG_PASSWORD of older servers
		return http.StatusUnauthorized
	case 192, 497, 291: // UNKNOWN_USER, ACCESS_DENIED, DATABASE_ACCESS_DENIED
		return http.StatusForbidden
	case 6, 26, 27, 38, 41, 43, 44, 46, 47, 50, 51, 53, 62, 69, 70, 72, 74, 131, 310, 386, codeBadArguments, 125, 321, 456, 457, 632:
		return http.StatusBadRequest
	case 60, 81, 16, 115: // UNKNOWN_TABLE, UNKNOWN_DATABASE, NO_SUCH_COLUMN_IN_TABLE, UNKNOWN_SETTING
		return http.StatusNotFound
	case codeTooManyQueries:
		return http.StatusTooManyRequests
	case codeNotImplemented:
		return http.StatusNotImplemented
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}
