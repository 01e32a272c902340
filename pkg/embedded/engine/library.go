package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ErrNoLibrary means that the engine's shared library is not on this machine.
var ErrNoLibrary = errors.New("the ClickHouse engine's library is not installed: run `make engine`, or name it in HYPOSTREAM_ENGINE_LIBRARY")

// libraryVariable names the library in the environment.
const libraryVariable = "HYPOSTREAM_ENGINE_LIBRARY"

// FindLibrary returns the path of the engine's shared library: what
// HYPOSTREAM_ENGINE_LIBRARY names, else the one that `make engine` installed in
// .engine, searched from the working directory upwards and then from the
// executable's directory upwards. It returns [ErrNoLibrary] if there is none.
func FindLibrary() (string, error) {
	if path := os.Getenv(libraryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w (%s: %w)", ErrNoLibrary, libraryVariable, err)
		}
		return path, nil
	}
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			starts = append(starts, filepath.Dir(exe))
		}
	}
	for _, dir := range starts {
		for {
			path := filepath.Join(dir, ".engine", "node_modules", "@chdb", "lib-"+platform(), "libchdb.so")
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", ErrNoLibrary
}

// platform is this machine's name in the library's package names.
func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	if runtime.GOOS == "linux" {
		return "linux-" + arch + "-gnu"
	}
	return runtime.GOOS + "-" + arch
}

// library holds the functions of libchdb. Handles are opaque to Go: they point
// into memory that the library owns.
type library struct {
	connect     func(argc int32, argv unsafe.Pointer) uintptr
	closeConn   func(conn uintptr)
	query       queryFunc
	stream      queryFunc
	fetch       func(conn, result uintptr) uintptr
	cancel      func(conn, result uintptr)
	destroy     func(result uintptr)
	buffer      func(result uintptr) unsafe.Pointer
	length      func(result uintptr) uintptr
	rowsRead    func(result uintptr) uint64
	bytesRead   func(result uintptr) uint64
	rowsWritten func(result uintptr) uint64
	bytesWrote  func(result uintptr) uint64
	error       func(result uintptr) unsafe.Pointer
}

var (
	loadMutex sync.Mutex
	loaded    *library
)

// load opens the library once for the process; it is never unloaded, because
// its threads outlive its connections.
func load(path string) (*library, error) {
	loadMutex.Lock()
	defer loadMutex.Unlock()
	if loaded != nil {
		return loaded, nil
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("loading the engine's library: %w", err)
	}
	var l library
	for _, f := range []struct {
		into any
		name string
	}{
		{&l.connect, "chdb_connect"},
		{&l.closeConn, "chdb_close_conn"},
		{&l.query, "chdb_query_with_params_n"},
		{&l.stream, "chdb_stream_query_with_params_n"},
		{&l.fetch, "chdb_stream_fetch_result"},
		{&l.cancel, "chdb_stream_cancel_query"},
		{&l.destroy, "chdb_destroy_query_result"},
		{&l.buffer, "chdb_result_buffer"},
		{&l.length, "chdb_result_length"},
		{&l.rowsRead, "chdb_result_rows_read"},
		{&l.bytesRead, "chdb_result_bytes_read"},
		{&l.rowsWritten, "chdb_result_rows_written"},
		{&l.bytesWrote, "chdb_result_bytes_written"},
		{&l.error, "chdb_result_error"},
	} {
		symbol, err := purego.Dlsym(handle, f.name)
		if err != nil {
			return nil, fmt.Errorf("loading the engine's library: %s: %w", path, err)
		}
		purego.RegisterFunc(f.into, symbol)
	}
	loaded = &l
	return loaded, nil
}

// connection is one session of the engine: its current database, settings and
// temporary tables are its own. One statement runs on it at a time.
type connection struct {
	lib    *library
	handle uintptr // chdb_connection *
}

// queryFunc is the shape of both query functions: connection; statement and
// format with their lengths; names and values of the parameters with theirs.
type queryFunc = func(conn uintptr, sql unsafe.Pointer, n uintptr, format unsafe.Pointer, fn uintptr,
	names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr

// open makes a connection with these command-line arguments.
func (l *library) open(args ...string) (*connection, error) {
	args = append([]string{"clickhouse"}, args...)
	bytes := make([][]byte, len(args))
	argv := make([]unsafe.Pointer, len(args)+1)
	var pin runtime.Pinner
	defer pin.Unpin()
	for i, a := range args {
		bytes[i] = append([]byte(a), 0)
		argv[i] = unsafe.Pointer(&bytes[i][0])
		pin.Pin(argv[i])
	}
	pin.Pin(&argv[0])
	handle := l.connect(int32(len(args)), unsafe.Pointer(&argv[0]))
	if handle == 0 {
		return nil, errors.New("opening the engine: it refused the connection (is its data directory in use by another process?)")
	}
	return &connection{lib: l, handle: handle}, nil
}

// close ends the session; closing the last one shuts the engine down.
func (c *connection) close() {
	if c.handle != 0 {
		c.lib.closeConn(c.handle)
		c.handle = 0
	}
}

// raw is the chdb_connection that the query functions take: what the handle
// points at.
func (c *connection) raw() uintptr { return *(*uintptr)(foreign(c.handle)) }

// foreign makes a pointer to memory outside Go's heap.
func foreign(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// parameter is the value of one {name:Type} in a statement, in ClickHouse's
// escaped text form.
type parameter struct{ name, value string }

// call runs f, the plain or the streaming query function.
func (c *connection) call(f queryFunc, sql, format string, params []parameter) *result {
	var pin runtime.Pinner
	defer pin.Unpin()
	pointer := func(s string) unsafe.Pointer {
		if s == "" {
			s = "\x00"
		}
		p := unsafe.Pointer(unsafe.StringData(s))
		pin.Pin(p)
		return p
	}
	n := len(params)
	names, values := make([]unsafe.Pointer, n+1), make([]unsafe.Pointer, n+1)
	nameLens, valueLens := make([]uintptr, n+1), make([]uintptr, n+1)
	for i, p := range params {
		names[i], nameLens[i] = pointer(p.name), uintptr(len(p.name))
		values[i], valueLens[i] = pointer(p.value), uintptr(len(p.value))
	}
	pin.Pin(&names[0])
	pin.Pin(&values[0])
	pin.Pin(&nameLens[0])
	pin.Pin(&valueLens[0])
	handle := f(c.raw(), pointer(sql), uintptr(len(sql)), pointer(format), uintptr(len(format)),
		unsafe.Pointer(&names[0]), unsafe.Pointer(&nameLens[0]), unsafe.Pointer(&values[0]), unsafe.Pointer(&valueLens[0]), uintptr(n))
	return &result{lib: c.lib, handle: handle}
}

// query runs a statement to its end and holds its whole result.
func (c *connection) query(sql, format string, params []parameter) *result {
	return c.call(c.lib.query, sql, format, params)
}

// stream starts a reading statement whose result comes in pieces: see fetch.
func (c *connection) stream(sql, format string, params []parameter) *result {
	return c.call(c.lib.stream, sql, format, params)
}

// fetch returns the next piece of a stream; an empty one ends it. Each piece
// is to be closed.
func (c *connection) fetch(stream *result) *result {
	return &result{lib: c.lib, handle: c.lib.fetch(c.raw(), stream.handle)}
}

// cancel gives up a stream. Not while a fetch is running.
func (c *connection) cancel(stream *result) { c.lib.cancel(c.raw(), stream.handle) }

// result is what a statement or one piece of it gave.
type result struct {
	lib    *library
	handle uintptr
}

// err is the engine's error, a [*Error], or nil.
func (r *result) err() error {
	if r.handle == 0 {
		return &Error{Code: 1002, Text: "Code: 1002. DB::Exception: the engine gave no result (UNKNOWN_EXCEPTION)"}
	}
	p := r.lib.error(r.handle)
	if p == nil {
		return nil
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return parseError(string(unsafe.Slice((*byte)(p), n)))
}

// bytes is the result's body, in memory of the library: valid until close.
func (r *result) bytes() []byte {
	if r.handle == 0 {
		return nil
	}
	p, n := r.lib.buffer(r.handle), r.lib.length(r.handle)
	if p == nil || n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), int(n))
}

func (r *result) close() {
	if r.handle != 0 {
		r.lib.destroy(r.handle)
		r.handle = 0
	}
}
