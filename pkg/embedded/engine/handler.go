package engine

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one request.
const (
	maxSQL     = 16 << 20  // bytes of SQL
	headSQL    = 256 << 10 // bytes of a body in which INSERT … FORMAT must stand: the engine's own max_query_size
	maxQueryID = 256
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Ok.\n") }
	mux.HandleFunc("/ping", ok)
	mux.HandleFunc("/replicas_status", ok)
	mux.HandleFunc("/{$}", s.serveQuery)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("There is no handle %.200s: queries go to /, and /ping and /replicas_status answer.", r.URL.Path), http.StatusNotFound)
	})
	// A page of another site must not reach the engine through its reader's browser.
	return http.NewCrossOriginProtection().Handler(mux)
}

// notSettings are the URL's parameters that are no settings of the query.
var notSettings = map[string]bool{
	"query": true, "query_id": true, "database": true, "user": true, "password": true, "default_format": true,
	"session_id": true, "session_timeout": true, "session_check": true, "close_session": true, "compress": true,
	"decompress": true, "wait_end_of_query": true, "buffer_size": true, "stacktrace": true, "quota_key": true,
	"client_protocol_version": true, "role": true, "log_comment": true,
	// Of the HTTP server, which this one replaces:
	"enable_http_compression": true, "http_zlib_compression_level": true, "send_progress_in_http_headers": true,
	"http_headers_progress_interval_ms": true, "add_http_cors_header": true, "http_response_buffer_size": true,
	"cancel_http_readonly_queries_on_client_close": true, "http_write_exception_in_output_format": true,
	"network_compression_method": true, "network_zstd_compression_level": true, "http_receive_timeout": true,
	"http_send_timeout": true,
}

// request is one query as the client put it.
type request struct {
	url      url.Values
	database string
	format   string // of the result, unless the statement names one
	settings map[string]string
	params   []parameter
	revision uint64
	id       string
}

func (s *Server) parse(r *http.Request) (*request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, newError(codeBadArguments, "BAD_ARGUMENTS", "The URL's query string is malformed: "+err.Error())
	}
	q := &request{url: values, settings: map[string]string{}}
	user, password, basic := r.BasicAuth()
	switch {
	case r.Header.Get("X-ClickHouse-User") != "" || r.Header.Get("X-ClickHouse-Key") != "":
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	case !basic:
		user, password = values.Get("user"), values.Get("password")
	}
	if user == "" {
		user = "default"
	}
	if !s.authenticated(user, password) {
		return nil, newError(codeAuthentication, "AUTHENTICATION_FAILED",
			fmt.Sprintf("%.200s: Authentication failed: password is incorrect, or there is no user with such name.", user))
	}
	first := func(options ...string) string {
		for _, o := range options {
			if o != "" {
				return o
			}
		}
		return ""
	}
	q.database = first(values.Get("database"), r.Header.Get("X-ClickHouse-Database"))
	q.format = first(values.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
	q.revision, _ = strconv.ParseUint(values.Get("client_protocol_version"), 10, 32)
	if q.id = values.Get("query_id"); q.id == "" {
		q.id = newQueryID()
	}
	if len(q.id) > maxQueryID || strings.ContainsFunc(q.id, func(c rune) bool { return c < ' ' || c == utf8.RuneError }) {
		return nil, newError(codeBadArguments, "BAD_ARGUMENTS", "query_id is too long or holds control characters")
	}
	if strings.Trim(q.format, wordBytes) != "" {
		return nil, newError(73, "UNKNOWN_FORMAT", fmt.Sprintf("Unknown format %.100q", q.format))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list := values[name]
		value := list[len(list)-1]
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			q.params = append(q.params, parameter{param, value})
			continue
		}
		if notSettings[name] {
			continue
		}
		if name == "" || strings.Trim(name, wordBytes) != "" {
			return nil, newError(115, "UNKNOWN_SETTING", fmt.Sprintf("Unknown setting %.100q", name))
		}
		q.settings[name] = value
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if values.Get("session_id") != "" {
			// readonly cannot be taken back, and would stay in the session.
			return nil, newError(codeBadArguments, "BAD_ARGUMENTS", "A query in a session must be sent by POST")
		}
		if q.settings["readonly"] == "" || q.settings["readonly"] == "0" {
			q.settings["readonly"] = "2" // as ClickHouse: GET changes nothing
		}
	}
	return q, nil
}

func (s *Server) serveQuery(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "Method not allowed: GET and POST are.", http.StatusMethodNotAllowed)
		return
	}
	if r.Method != http.MethodPost && !r.URL.Query().Has("query") {
		io.WriteString(w, "Ok.\n")
		return
	}
	out := &response{w: w, r: r, server: s}
	q, err := s.parse(r)
	if err == nil {
		out.q = q
		err = s.run(r.Context(), q, r, out)
	}
	if err != nil {
		out.fail(err)
		return
	}
	out.finish()
}

// run takes one query from its body to the end of its result.
func (s *Server) run(ctx context.Context, q *request, r *http.Request, out *response) error {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return newError(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine takes no external tables (multipart/form-data)")
	}
	raw, closeBody, err := decodeBody(http.MaxBytesReader(out.w, r.Body, s.cfg.MaxBody), r.Header.Get("Content-Encoding"))
	if err != nil {
		return bodyError(err)
	}
	defer closeBody()
	if isTrue(q.url.Get("decompress")) {
		raw = newFramedReader(raw)
	}
	body := bufio.NewReaderSize(&limitedReader{r: raw, left: s.cfg.MaxBody}, headSQL)

	sql := q.url.Get("query")
	var st statement
	head, err := body.Peek(headSQL)
	if err != nil && !errors.Is(err, io.EOF) {
		return bodyError(err)
	}
	wholeBody := err != nil // the body ends within the head
	if sql != "" {
		sql += "\n"
	}
	if st = analyse(sql); st.data < 0 {
		given := len(sql)
		st = analyse(sql + string(head))
		switch {
		case st.data >= 0 && (!st.values || !wholeBody):
			// What follows the statement's end is data.
			sql += string(head[:st.data-given])
			if _, err := body.Discard(st.data - given); err != nil {
				return bodyError(err)
			}
		default:
			rest, err := io.ReadAll(io.LimitReader(body, maxSQL+1))
			if err != nil {
				return bodyError(err)
			}
			if sql += string(rest); len(sql) > maxSQL {
				return newError(codeBadArguments, "BAD_ARGUMENTS", fmt.Sprintf("The statement is longer than %d bytes", maxSQL))
			}
			if !wholeBody {
				st = analyse(sql)
			}
			if st.values {
				st.data = -1 // short enough to go as it is
			}
		}
	} else if st.values && len(head) == 0 && wholeBody {
		st.data = -1
	}
	if strings.TrimSpace(sql) == "" {
		return newError(62, "SYNTAX_ERROR", "Syntax error: empty query")
	}
	if st.several {
		return newError(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
	}
	if st.syncAt >= 0 {
		// DROP … SYNC never returns in the library.
		sql = sql[:st.syncAt] + "    " + sql[st.syncAt+4:]
	}

	if st.data >= 0 {
		file, err := s.spoolBody(io.MultiReader(strings.NewReader(sql[st.data:]), body))
		if file != "" {
			defer os.Remove(file)
		}
		if err != nil {
			return err
		}
		clauses := st.formatAt
		if st.settings >= 0 {
			clauses = st.settings
		}
		sql = sql[:clauses] + " FROM INFILE " + quote(file) + " COMPRESSION 'none' " + sql[clauses:st.formatAt] + " FORMAT " + st.format
		st.format = ""
	}

	if err := s.acquire(ctx); err != nil {
		return err
	}
	s.queries.Add(1)
	defer s.queries.Done()
	defer func() { <-s.slots }()
	conn, giveBack, err := s.connect(q)
	if err != nil {
		return err
	}
	defer giveBack()
	mark := newMark()
	if err := s.prepare(conn, q.database, q.settings, mark); err != nil {
		return err
	}
	defer s.watch(ctx, mark)()
	out.begin(st)
	if out.streams(st) {
		stream := conn.stream(sql, q.format, q.params)
		defer stream.close()
		err := stream.err()
		if err == nil {
			return s.copyStream(ctx, conn, stream, out)
		}
		// Only the engine's parser knows what can be streamed, and it says so
		// before anything has run.
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != codeBadArguments {
			return err
		}
	}
	result := conn.query(sql, q.format, q.params)
	defer result.close()
	if err := result.err(); err != nil {
		return err
	}
	out.count(result)
	return out.write(result.bytes())
}

// copyStream sends a result piece by piece.
func (s *Server) copyStream(ctx context.Context, conn *connection, stream *result, out *response) error {
	for {
		piece := conn.fetch(stream)
		err := piece.err()
		body := piece.bytes()
		if err == nil {
			out.count(piece)
			err = out.write(body)
		}
		piece.close()
		if err == nil && ctx.Err() != nil {
			err = newError(codeCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled")
		}
		if err != nil {
			conn.cancel(stream)
			return err
		}
		if len(body) == 0 {
			return nil
		}
	}
}

// connect returns a connection for one query. It is a new one, so that nothing
// of one query can reach another (opening takes 0.2 ms), or the session's.
func (s *Server) connect(q *request) (*connection, func(), error) {
	open := func() (*connection, error) { return s.lib.open(s.args...) }
	id := q.url.Get("session_id")
	if id == "" {
		conn, err := open()
		if err != nil {
			return nil, nil, err
		}
		return conn, conn.close, nil
	}
	timeout := defaultSessionTime
	if text := q.url.Get("session_timeout"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > maxSessionTime {
			return nil, nil, newError(374, "INVALID_SESSION_TIMEOUT", fmt.Sprintf("Session timeout %.20q is not between 0 and %v", text, maxSessionTime))
		}
		timeout = time.Duration(seconds) * time.Second
	}
	conn, err := s.sessions.take(id, open)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() {
		// The settings in a URL are for its query alone.
		for name := range q.settings {
			_ = conn.exec("SET " + name + " = DEFAULT")
		}
		s.sessions.give(id, timeout)
	}, nil
}

// spoolBody puts data where the engine reads them, and returns the path.
func (s *Server) spoolBody(data io.Reader) (string, error) {
	file, err := os.CreateTemp(s.spool, "body-*")
	if err != nil {
		return "", fmt.Errorf("keeping the body: %w", err)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, data, make([]byte, 256<<10))
	if closeErr := file.Close(); err == nil && closeErr != nil {
		return file.Name(), fmt.Errorf("keeping the body: %w", closeErr)
	}
	if err != nil {
		return file.Name(), bodyError(err)
	}
	return file.Name(), nil
}

// bodyError says what is wrong with a body.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	if errors.As(err, &tooLarge) || errors.Is(err, errTooLarge) {
		return newError(codeTooLarge, "TOO_LARGE_BODY", "The body is larger than the server takes")
	}
	return newError(codeCannotParse, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "Cannot read the body: "+err.Error())
}

var errTooLarge = errors.New("body too large")

// limitedReader fails past its limit, where io.LimitReader would cut.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func isTrue(s string) bool { return s == "1" || s == "true" }

// newQueryID makes a random UUID.
func newQueryID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
