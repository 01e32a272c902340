package engine

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// response writes a result. Its headers wait for the first byte, so that what
// fails before that is answered with a status.
type response struct {
	w      http.ResponseWriter
	r      *http.Request
	q      *request
	server *Server

	began     time.Time
	format    string
	native    bool   // the Native format, for a client of some protocol revision
	whole     bool   // wait_end_of_query
	sent      bool   // the headers are out
	tag       string // of an exception in the middle of a result
	to        io.Writer
	framed    *framedWriter
	encoder   io.WriteCloser
	readRows  uint64
	readBytes uint64
	wrote     uint64
	wroteSize uint64
}

// begin learns what is to be sent.
func (o *response) begin(st statement) {
	o.began = time.Now()
	o.format = o.q.format
	if st.format != "" && st.data < 0 {
		o.format = st.format
	}
	o.native = strings.EqualFold(o.format, "Native") && o.q.revision > 0
	o.whole = isTrue(o.q.url.Get("wait_end_of_query"))
}

// streamed are the formats whose pieces add up to the whole: the library
// repeats headers and footers with every piece.
var streamed = map[string]bool{
	"native": true, "rowbinary": true, "jsoneachrow": true, "jsonstringseachrow": true, "jsoncompacteachrow": true,
	"jsoncompactstringseachrow": true, "tabseparated": true, "tsv": true, "tabseparatedraw": true, "tsvraw": true, "csv": true,
}

// streams says whether a statement's result is sent piece by piece.
func (o *response) streams(st statement) bool {
	if o.whole || st.totals || isTrue(o.q.settings["extremes"]) || o.q.settings["output_format_json_array_of_rows"] != "" {
		return false
	}
	if st.verb != "SELECT" && st.verb != "WITH" && st.verb != "FROM" {
		return false
	}
	return streamed[strings.ToLower(o.format)]
}

// count adds up what the engine says it did.
func (o *response) count(r *result) {
	if r.handle == 0 {
		return
	}
	o.readRows += r.lib.rowsRead(r.handle)
	o.readBytes += r.lib.bytesRead(r.handle)
	o.wrote += r.lib.rowsWritten(r.handle)
	o.wroteSize += r.lib.bytesWrote(r.handle)
}

// write sends a piece of the result.
func (o *response) write(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if !o.sent && o.native {
		// A type that cannot be sent is found before the status is.
		if _, _, err := columnHeads(piece); err != nil {
			return err
		}
	}
	o.start()
	if o.native {
		return writeNative(o.to, piece, o.q.revision)
	}
	_, err := o.to.Write(piece)
	return err
}

// start sends the headers.
func (o *response) start() {
	if o.sent {
		return
	}
	o.sent = true
	h := o.w.Header()
	h.Set("Content-Type", contentType(o.format))
	h.Set("X-ClickHouse-Format", o.format)
	o.tag = strings.ToLower(rand.Text()[:16])
	h.Set("X-ClickHouse-Exception-Tag", o.tag)
	o.common()
	o.to = o.w
	if isTrue(o.q.url.Get("enable_http_compression")) {
		if name, z := encodeBody(o.w, o.r.Header.Get("Accept-Encoding")); z != nil {
			h.Set("Content-Encoding", name)
			h.Add("Vary", "Accept-Encoding")
			o.encoder, o.to = z, z
		}
	}
	if isTrue(o.q.url.Get("compress")) {
		o.framed = newFramedWriter(o.to, o.q.url.Get("network_compression_method"))
		o.to = o.framed
	}
}

// common sets the headers of every answer.
func (o *response) common() {
	h := o.w.Header()
	h.Set("X-ClickHouse-Server-Display-Name", o.server.name)
	h.Set("X-ClickHouse-Timezone", o.server.timezone)
	if o.q == nil {
		return
	}
	h.Set("X-ClickHouse-Query-Id", o.q.id)
	h.Set("X-ClickHouse-Summary", fmt.Sprintf(
		`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d","total_rows_to_read":"0","result_rows":"%d","result_bytes":"%d","elapsed_ns":"%d"}`,
		o.readRows, o.readBytes, o.wrote, o.wroteSize, max(o.readRows, o.wrote), max(o.readBytes, o.wroteSize), time.Since(o.began).Nanoseconds()))
}

// finish ends a result.
func (o *response) finish() {
	if !o.sent {
		// Nothing to send: no compression either, whose frames clients take for data.
		h := o.w.Header()
		h.Set("Content-Type", contentType(o.format))
		h.Set("X-ClickHouse-Format", o.format)
		h.Set("Content-Length", "0")
		o.common()
		o.w.WriteHeader(http.StatusOK)
		return
	}
	if err := o.flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (o *response) flush() error {
	if o.framed != nil {
		if err := o.framed.Flush(); err != nil {
			return err
		}
	}
	if o.encoder != nil {
		return o.encoder.Close()
	}
	return nil
}

// fail answers with an error; once a part of the result is out, it stands at
// the end of the body in ClickHouse's frame, and the connection breaks.
func (o *response) fail(err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = newError(1002, "UNKNOWN_EXCEPTION", err.Error())
	}
	text := e.Text + "\n"
	if o.sent {
		var b bytes.Buffer
		fmt.Fprintf(&b, "\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", o.tag, text, len(text), o.tag)
		if _, err := o.to.Write(b.Bytes()); err == nil && o.flush() == nil {
			_ = http.NewResponseController(o.w).Flush()
		}
		panic(http.ErrAbortHandler)
	}
	h := o.w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	if e.Code == codeAuthentication {
		h.Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
	}
	o.common()
	o.w.WriteHeader(status(e.Code))
	_, _ = io.WriteString(o.w, text)
}

// contentType is what ClickHouse calls a format.
func contentType(format string) string {
	f := strings.ToLower(format)
	switch {
	case strings.HasPrefix(f, "json") && (strings.Contains(f, "eachrow") || f == "jsonlines"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(f, "json"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(f, "csv"):
		return "text/csv; charset=UTF-8; header=" + map[bool]string{true: "present", false: "absent"}[strings.Contains(f, "withnames")]
	case strings.HasPrefix(f, "tabseparated"), strings.HasPrefix(f, "tsv"):
		return "text/tab-separated-values; charset=UTF-8"
	case f == "native", strings.HasPrefix(f, "rowbinary"), f == "parquet", f == "arrow", f == "arrowstream", f == "orc", f == "avro":
		return "application/octet-stream"
	case f == "xml":
		return "application/xml; charset=UTF-8"
	}
	return "text/plain; charset=UTF-8"
}
