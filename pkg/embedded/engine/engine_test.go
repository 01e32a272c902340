package engine_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/hypostream/hypostream/pkg/embedded/engine"
	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("ENGINE_TEST_CHILD") != "" {
		child()
		return
	}
	enginetest.Main(m)
}

// open is clickhouse-go on a fresh database, with this in its DSN's query.
func open(t testing.TB, query string) driver.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(enginetest.Database(t) + "?" + query)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a request as curl would and returns status, headers and body.
func ask(t testing.TB, dsn string, values url.Values, body io.Reader, headers ...string) (int, http.Header, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if values == nil {
		values = url.Values{}
	}
	values.Set("database", strings.Trim(u.Path, "/"))
	target := url.URL{Scheme: "http", Host: u.Host, Path: "/", RawQuery: values.Encode()}
	req, err := http.NewRequest(http.MethodPost, target.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

type wide struct {
	Name    string            `ch:"name"`
	ID      uuid.UUID         `ch:"id"`
	Time    time.Time         `ch:"time"`
	Tags    map[string]string `ch:"tags"`
	Anchor  uint64            `ch:"anchor"`
	Sum     *big.Int          `ch:"sum"`
	Squares *big.Int          `ch:"squares"`
	Users   []uint64          `ch:"users"`
	Maybe   *string           `ch:"maybe"`
	Value   float64           `ch:"value"`
	Labels  []string          `ch:"labels"`
	State   string            `ch:"state"`
	Small   int8              `ch:"small"`
	Flag    bool              `ch:"flag"`
}

const wideDDL = `CREATE TABLE wide (name LowCardinality(String), id UUID, time DateTime64(6,'UTC'),
	tags Map(LowCardinality(String), String), anchor UInt64, sum Int128, squares Int256, users Array(UInt64),
	maybe Nullable(String), value Float64, labels Array(LowCardinality(String)), state Enum8('a' = 1, 'b,)' = 2),
	small Int8, flag Bool,
	first SimpleAggregateFunction(min, Tuple(DateTime64(6,'UTC'), String, UInt64)) MATERIALIZED (time, ifNull(maybe, ''), anchor)
) ENGINE = MergeTree ORDER BY anchor`

func wideRow(i int) wide {
	x := wide{
		Name: fmt.Sprintf("name %d", i%7), ID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)),
		Time:   time.UnixMicro(1_700_000_000_123_456 + int64(i)).UTC(),
		Tags:   map[string]string{"line": "a\nb\x00'\\", "n": fmt.Sprint(i)},
		Anchor: uint64(i) | 1<<63*uint64(i%2), Sum: new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(int64(i+1)), 80)),
		Squares: new(big.Int).Lsh(big.NewInt(int64(i+1)), 200), Users: []uint64{uint64(i), 1<<64 - 1},
		Value: float64(i) / 3, Labels: []string{"x", fmt.Sprint(i % 3)}, State: "b,)", Small: int8(-i % 100), Flag: i%2 == 0,
	}
	if i%3 == 0 {
		x.Users, x.Tags, x.Labels = []uint64{}, map[string]string{}, []string{}
	} else {
		s := "maybe"
		x.Maybe = &s
	}
	return x
}

func TestRowsComeBackAsClickHouseGoWroteThem(t *testing.T) {
	for _, compress := range []string{"", "compress=lz4", "compress=zstd", "compress=gzip"} {
		t.Run("compression "+compress, func(t *testing.T) {
			conn, ctx := open(t, compress), context.Background()
			if err := conn.Exec(ctx, wideDDL); err != nil {
				t.Fatal(err)
			}
			batch, err := conn.PrepareBatch(ctx, `INSERT INTO wide (name, id, time, tags, anchor, sum, squares, users, maybe, value, labels, state, small, flag)`)
			if err != nil {
				t.Fatal(err)
			}
			var want []wide
			for i := range 1000 {
				want = append(want, wideRow(i))
				if err := batch.AppendStruct(&want[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			var got []wide
			if err := conn.Select(ctx, &got, `SELECT * FROM wide ORDER BY time`); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
				t.Errorf("rows differ (-written +read):\n%s", diff)
			}
			// A Tuple inside a SimpleAggregateFunction, which the driver cannot
			// scan into a struct's field.
			var first []any
			if err := conn.QueryRow(ctx, `SELECT first FROM wide ORDER BY time LIMIT 1 OFFSET 1`).Scan(&first); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{want[1].Time, "maybe", want[1].Anchor}, first); diff != "" {
				t.Errorf("tuple differs:\n%s", diff)
			}
		})
	}
}

func TestParametersReachTheEngineAsValues(t *testing.T) {
	conn := open(t, "")
	tests := []string{"plain", "it's", `back\slash`, "tab\tand\nline", "';DROP TABLE x;--", "ü€😀", ""}
	for _, want := range tests {
		var got string
		ctx := clickhouse.Context(context.Background(), clickhouse.WithParameters(clickhouse.Parameters{"s": escaped(want)}))
		if err := conn.QueryRow(ctx, "SELECT {s:String}").Scan(&got); err != nil || got != want {
			t.Errorf("SELECT {s:String} of %q = %q, %v", want, got, err)
		}
	}
	var got []uint64
	if err := conn.QueryRow(context.Background(), "SELECT {a:Array(UInt64)}", clickhouse.Named("a", "[1,18446744073709551615]")).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{1, 1<<64 - 1}, got); diff != "" {
		t.Error(diff)
	}
}

// escaped is ClickHouse's escaped text form, in which parameters travel.
func escaped(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "'", `\'`).Replace(s)
}

func TestLargeResultsArriveWhole(t *testing.T) {
	conn := open(t, "")
	rows, err := conn.Query(context.Background(), "SELECT number, toString(number) FROM numbers(1000000)")
	if err != nil {
		t.Fatal(err)
	}
	var n, sum uint64
	for rows.Next() {
		var number uint64
		var text string
		if err := rows.Scan(&number, &text); err != nil {
			t.Fatal(err)
		}
		n, sum = n+1, sum+number
	}
	if err := rows.Err(); err != nil || n != 1000000 || sum != 499999500000 {
		t.Errorf("read %d rows of sum %d, %v; want 1000000 of 499999500000", n, sum, err)
	}
	// Formats with a header or a frame must have it once.
	dsn := enginetest.Database(t)
	_, _, body := ask(t, dsn, nil, strings.NewReader("SELECT number FROM numbers(200000) FORMAT JSON"))
	var parsed struct {
		Rows int
		Data []struct{ Number uint64 }
	}
	if err := json.Unmarshal([]byte(body), &parsed); err != nil || parsed.Rows != 200000 || len(parsed.Data) != 200000 {
		t.Errorf("JSON of 200000 rows: rows = %d, %d data, %v", parsed.Rows, len(parsed.Data), err)
	}
	_, _, body = ask(t, dsn, nil, strings.NewReader("SELECT number AS head FROM numbers(200000) FORMAT CSVWithNames"))
	if lines, heads := strings.Count(body, "\n"), strings.Count(body, "head"); lines != 200001 || heads != 1 {
		t.Errorf("CSVWithNames of 200000 rows has %d lines, %d headers", lines, heads)
	}
}

func TestErrorsCarryClickHousesCodeAndStatus(t *testing.T) {
	dsn := enginetest.Database(t)
	tests := []struct {
		name, sql string
		status    int
		code      string
	}{
		{"an unknown table is 404", "SELECT * FROM nope", 404, "60"},
		{"an unknown database is 404", "SELECT * FROM nope.nope", 404, "81"},
		{"a syntax error is 400", "SELEC 1", 400, "62"},
		{"an unknown column is 400", "SELECT nope", 400, "47"},
		{"an empty query is 400", "", 400, "62"},
		{"two statements are refused", "SELECT 1; SELECT 2", 400, "62"},
		{"a failing query is 500", "SELECT throwIf(1)", 500, "395"},
		{"an insert's syntax error is 400", "INSERT INTO FORMAT CSV 1", 400, "62"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, header, body := ask(t, dsn, nil, strings.NewReader(tt.sql))
			if status != tt.status || header.Get("X-ClickHouse-Exception-Code") != tt.code || !strings.HasPrefix(body, "Code: "+tt.code+". DB::Exception: ") {
				t.Errorf("status %d, code %s, %q", status, header.Get("X-ClickHouse-Exception-Code"), body)
			}
		})
	}
	t.Run("an unknown setting is 404", func(t *testing.T) {
		if status, _, body := ask(t, dsn, url.Values{"no_such_setting": {"1"}}, strings.NewReader("SELECT 1")); status != 404 {
			t.Errorf("status %d: %s", status, body)
		}
	})
	conn := open(t, "")
	var e *clickhouse.Exception
	if err := conn.Exec(context.Background(), "SELECT * FROM nope"); !errors.As(err, &e) || e.Code != 60 {
		t.Errorf("clickhouse-go sees %v, want code 60", err)
	}
	rows, err := conn.Query(context.Background(), "SELECT throwIf(number = 150000) FROM numbers(300000)")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	if !errors.As(err, &e) || e.Code != 395 {
		t.Errorf("an error in mid-result reaches clickhouse-go as %v, want code 395", err)
	}
}

func TestStatementsAndDataAsCurlSendsThem(t *testing.T) {
	dsn := enginetest.Database(t)
	must := func(want string, values url.Values, body string, headers ...string) {
		t.Helper()
		status, _, got := ask(t, dsn, values, strings.NewReader(body), headers...)
		if status != 200 || got != want {
			t.Errorf("status %d, body %q, want %q", status, got, want)
		}
	}
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write([]byte(s))
		w.Close()
		return b.String()
	}
	must("", nil, "CREATE TABLE t (a Int64, s String) ENGINE = MergeTree ORDER BY a")
	must("", nil, "INSERT INTO t VALUES (1,'one\nline'),\n(2,'FORMAT CSV')")
	must("", nil, "INSERT INTO t (a, s) FORMAT CSV\n3,\"x\ny\"\n4,z\n")
	must("", url.Values{"query": {"INSERT INTO t FORMAT TSV"}}, "5\tfive\n6\tsix\n")
	must("", url.Values{"query": {"INSERT INTO t SETTINGS input_format_allow_errors_num = 1 FORMAT JSONEachRow"}}, `{"a":7,"s":"seven"}`)
	must("", url.Values{"query": {"INSERT INTO t VALUES"}}, "(8, 'eight')")
	must("", url.Values{"query": {"INSERT INTO t FORMAT CSV"}}, gz("9,nine\n"), "Content-Encoding", "gzip")
	must("", url.Values{"query": {"INSERT INTO t FORMAT CSV"}}, "")
	must("", url.Values{"query": {"INSERT INTO t SELECT number + 10, 'n' FROM numbers(2)"}}, "")
	must("", url.Values{"query": {"INSERT INTO t VALUES ({a:Int64}, {s:String})"}, "param_a": {"12"}, "param_s": {`a\'b`}}, "")
	must("12\t78\n", nil, "SELECT count(), sum(a) FROM t")
	must("one\\nline\nFORMAT CSV\nx\\ny\n", nil, "SELECT s FROM t WHERE a <= 3 ORDER BY a")
	must("a'b\n", nil, "SELECT s FROM t WHERE a = 12 FORMAT TSVRaw")
	must("[1]\n", url.Values{"query": {"SELECT 1"}, "default_format": {"JSONCompactEachRow"}}, "")
	must("3\n", url.Values{"max_threads": {"3"}}, "SELECT getSetting('max_threads')")
	must("false\n", nil, "SELECT getSetting('async_insert')")
	must("", nil, "DROP TABLE t SYNC")

	large := "INSERT INTO u VALUES " + strings.Repeat("(1),", 300_000) + "(1)"
	must("", nil, "CREATE TABLE u (a Int64) ENGINE = MergeTree ORDER BY a")
	must("", nil, large)
	must("300001\n", nil, "SELECT count() FROM u")

	t.Run("responses are compressed for those who ask", func(t *testing.T) {
		_, header, body := ask(t, dsn, url.Values{"enable_http_compression": {"1"}}, strings.NewReader("SELECT repeat('x', 100000)"), "Accept-Encoding", "gzip, zstd")
		r, err := zstd.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if text, err := io.ReadAll(r); err != nil || len(text) != 100001 || header.Get("Content-Encoding") != "zstd" {
			t.Errorf("encoding %q, %d bytes, %v", header.Get("Content-Encoding"), len(text), err)
		}
	})
	t.Run("a GET changes nothing", func(t *testing.T) {
		u, _ := url.Parse(dsn)
		for sql, want := range map[string]int{"SELECT 1": 200, "CREATE TABLE v (a Int64) ENGINE = Memory": 500, "SELECT 2&session_id=s": 400} {
			sql, more, _ := strings.Cut(sql, "&")
			res, err := http.Get("http://" + u.Host + "/?query=" + url.QueryEscape(sql) + "&" + more)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("GET %s: %d, want %d", sql, res.StatusCode, want)
			}
		}
	})
	t.Run("one query's settings do not reach another, a session's do", func(t *testing.T) {
		must("", nil, "SET max_threads = 7")
		_, _, got := ask(t, dsn, nil, strings.NewReader("SELECT getSetting('max_threads')"))
		if got == "7\n" {
			t.Error("a SET outside a session lives on")
		}
		in := url.Values{"session_id": {"session of " + dsn}}
		must("", in, "SET max_threads = 7")
		must("7\n", in, "SELECT getSetting('max_threads')")
		must("", in, "CREATE TEMPORARY TABLE tmp (a Int8)")
		must("0\n", in, "SELECT count() FROM tmp")
	})
	t.Run("malformed bodies harm only themselves", func(t *testing.T) {
		for _, body := range []string{"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x05\x01a\x05Int64\x00", strings.Repeat("\xff", 1000)} {
			if status, _, _ := ask(t, dsn, url.Values{"query": {"INSERT INTO u FORMAT Native"}}, strings.NewReader(body)); status == 200 {
				t.Errorf("Native %q was taken", body)
			}
			if status, _, _ := ask(t, dsn, url.Values{"query": {"INSERT INTO u FORMAT Native"}, "decompress": {"1"}}, strings.NewReader(body)); status == 200 {
				t.Errorf("compressed %q was taken", body)
			}
		}
		must("300001\n", nil, "SELECT count() FROM u")
	})
}

func TestManyClientsAtOnce(t *testing.T) {
	conn, ctx := open(t, ""), context.Background()
	if err := conn.Exec(ctx, "CREATE TABLE t (a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}
	const writers, batches, rows = 4, 10, 500
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range batches {
				batch, err := conn.PrepareBatch(ctx, "INSERT INTO t")
				if err != nil {
					t.Error(err)
					return
				}
				for i := range rows {
					if err := batch.Append(uint64(i), fmt.Sprint(i%5)); err != nil {
						t.Error(err)
					}
				}
				if err := batch.Send(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range batches {
				var n, sum uint64
				if err := conn.QueryRow(ctx, "SELECT count(), sum(a) FROM t").Scan(&n, &sum); err != nil {
					t.Error(err)
				}
				// An insert is seen whole or not at all: 0+1+…+499 = 124750.
				if n%rows != 0 || sum != n/rows*124750 {
					t.Errorf("saw %d rows of sum %d", n, sum)
				}
			}
		})
	}
	wg.Wait()
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM t").Scan(&n); err != nil || n != writers*batches*rows {
		t.Errorf("count() = %d, %v, want %d", n, err, writers*batches*rows)
	}
}

func TestADeduplicationTokenSavesTheSecondInsert(t *testing.T) {
	conn := open(t, "")
	if err := conn.Exec(context.Background(), "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"one", "one", "two"} {
		ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO t")
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Append(uint64(1)); err != nil {
			t.Fatal(err)
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	var n uint64
	if err := conn.QueryRow(context.Background(), "SELECT count() FROM t").Scan(&n); err != nil || n != 2 {
		t.Errorf("count() = %d, %v, want 2: the second insert bears the first one's token", n, err)
	}
}

func TestACancelledRequestEndsItsQuery(t *testing.T) {
	conn := open(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		var n uint64
		failed <- conn.QueryRow(ctx, "SELECT sum(sipHash64(number)) /* endless */ FROM numbers(1000000000000)").Scan(&n)
	}()
	running := func() (n uint64) {
		if err := conn.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE '%/* endless */%' AND query NOT LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for running() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the client sees %v", err)
	}
	for running() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	s := enginetest.Start(t)
	tests := []struct {
		name   string
		target string
		header [2]string
		status int
	}{
		{"the configured user without a password is let in", "/?user=default", [2]string{}, 200},
		{"nobody is the default user", "/", [2]string{}, 200},
		{"an unknown user is refused", "/?user=eve", [2]string{}, 401},
		{"a password where none is set is refused", "/?user=default&password=x", [2]string{}, 401},
		{"the header counts", "/", [2]string{"X-ClickHouse-User", "eve"}, 401},
		{"a page of another site is refused", "/", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"an unknown path is 404", "/nope", [2]string{}, 404},
		{"ping needs no user", "/ping", [2]string{}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, _ := http.NewRequest(http.MethodPost, "http://"+s.Addr()+tt.target, strings.NewReader("SELECT 1"))
			if tt.header[0] != "" {
				req.Header.Set(tt.header[0], tt.header[1])
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
		})
	}
}

func TestOneEngineAProcess(t *testing.T) {
	enginetest.Start(t)
	if _, err := engine.Start(context.Background(), engine.Config{Addr: "127.0.0.1:0"}); !errors.Is(err, engine.ErrRunning) {
		t.Errorf("a second engine: %v", err)
	}
}

// child runs in a process of its own, which ends by an interrupt.
func child() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := must(engine.Start(ctx, engine.Config{Addr: "127.0.0.1:0", DataDir: os.Getenv("ENGINE_TEST_CHILD"), User: "me", Password: "secret"}))
	for _, sql := range []string{"CREATE TABLE IF NOT EXISTS kept (a Int8) ENGINE = MergeTree ORDER BY a", "INSERT INTO kept VALUES (1)"} {
		if err := s.Exec(ctx, sql); err != nil {
			panic(err)
		}
	}
	conn := clickhouse.OpenDB(must(clickhouse.ParseDSN(s.DSN())))
	var n int
	err := conn.QueryRow("SELECT count() FROM kept").Scan(&n)
	fmt.Println("rows", err, n)
	conn.Close()
	fmt.Println("recovered", nilDereference())
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("closed", s.Close())
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func nilDereference() (caught bool) {
	defer func() { caught = recover() != nil }()
	var x *engine.Error
	_ = x.Code
	return false
}

func TestGoKeepsItsSignalsAndDataOutliveTheProcess(t *testing.T) {
	enginetest.Start(t) // skips without the library
	dir := t.TempDir()
	for run := range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ENGINE_TEST_CHILD="+filepath.Join(dir, "data"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		buf := make([]byte, 4096)
		for !strings.Contains(text.String(), "ready\n") {
			n, err := out.Read(buf)
			text.Write(buf[:n])
			if err != nil {
				break
			}
		}
		cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(out)
		text.Write(rest)
		err = cmd.Wait()
		want := fmt.Sprintf("rows <nil> %d\nrecovered true\nready\nclosed <nil>\n", run+1)
		if err != nil || text.String() != want {
			t.Errorf("run %d ended with %v and said %q, want %q\n%s", run, err, text.String(), want, stderr.String())
		}
	}
}

// BenchmarkInsert compares clickhouse-go's columns through the HTTP interface
// with the engine alone making and keeping the same rows.
func BenchmarkInsert(b *testing.B) {
	const rows = 100_000
	const ddl = `CREATE TABLE kpis (name LowCardinality(String), anchor UInt64, id UUID, time DateTime64(6,'UTC'), value Float64,
		visitor String, tags Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY (name, anchor)`
	run := func(name string, insert func(b *testing.B, conn driver.Conn)) {
		b.Run(name, func(b *testing.B) {
			conn := open(b, "")
			if err := conn.Exec(context.Background(), ddl); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				insert(b, conn)
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	var (
		names    = make([]string, rows)
		anchors  = make([]uint64, rows)
		ids      = make([]uuid.UUID, rows)
		times    = make([]time.Time, rows)
		values   = make([]float64, rows)
		visitors = make([]string, rows)
		tags     = make([]map[string]string, rows)
	)
	for i := range rows {
		names[i], anchors[i], ids[i], times[i] = fmt.Sprint("name ", i%6), uint64(i)*0x9e3779b97f4a7c15, uuid.New(), time.UnixMicro(int64(i)).UTC()
		values[i], visitors[i], tags[i] = float64(i), ids[i].String(), map[string]string{"country": "NL"}
	}
	run("clickhouse-go", func(b *testing.B, conn driver.Conn) {
		batch, err := conn.PrepareBatch(context.Background(), "INSERT INTO kpis")
		if err != nil {
			b.Fatal(err)
		}
		for i, column := range []any{names, anchors, ids, times, values, visitors, tags} {
			if err := batch.Column(i).Append(column); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			b.Fatal(err)
		}
	})
	run("engine alone", func(b *testing.B, conn driver.Conn) {
		if err := conn.Exec(context.Background(), `INSERT INTO kpis SELECT concat('name ', toString(number % 6)), number * 0x9e3779b97f4a7c15,
			generateUUIDv4(), fromUnixTimestamp64Micro(toInt64(number), 'UTC'), number, toString(generateUUIDv4(number)), map('country', 'NL') FROM numbers(100000)`); err != nil {
			b.Fatal(err)
		}
	})
}
