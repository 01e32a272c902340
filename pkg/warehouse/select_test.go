package warehouse_test

import (
	"context"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

func one[T any](t *testing.T, db *warehouse.DB, sql string, params map[string]any) T {
	t.Helper()
	rows, err := warehouse.Select[T](t.Context(), db, sql, params)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if len(rows) != 1 {
		t.Fatalf("%s: %d rows, want 1", sql, len(rows))
	}
	return rows[0]
}

// Every parameter comes back as the text that the server made of it, so the
// expected value is ClickHouse's own notation.
func TestParametersReachTheServerUnharmed(t *testing.T) {
	db := warehousetest.Open(t)
	when := time.Date(2026, 3, 1, 12, 30, 45, 123456000, time.UTC)
	huge, _ := new(big.Int).SetString("-170141183460469231731687303715884105728", 10)
	tests := []struct {
		name  string
		sql   string
		value any
		want  string
	}{
		{"a string with everything that could end it", "SELECT toString({x:String})", `it's "a\b" {x:String} ; -- \' ` + "\n\t end", `it's "a\b" {x:String} ; -- \' ` + "\n\t end"},
		{"an empty string", "SELECT toString({x:String})", "", ""},
		{"a time to the microsecond", "SELECT toString({x:DateTime64(6, 'UTC')})", when, "2026-03-01 12:30:45.123456"},
		{"a whole second", "SELECT toString({x:DateTime64(6, 'UTC')})", when.Truncate(time.Second), "2026-03-01 12:30:45.000000"},
		{"the last microsecond of a second", "SELECT toString({x:DateTime64(6, 'UTC')})", time.UnixMicro(1_700_000_000_999_999), "2023-11-14 22:13:20.999999"},
		{"the epoch", "SELECT toString({x:DateTime64(6, 'UTC')})", time.UnixMicro(0), "1970-01-01 00:00:00.000000"},
		{"a time in another zone is the same moment", "SELECT toString({x:DateTime64(6, 'UTC')})", when.In(time.FixedZone("x", 3600)), "2026-03-01 12:30:45.123456"},
		{"strings", "SELECT toString({x:Array(String)})", []string{"a", `b'c\`, ""}, `['a','b\'c\\','']`},
		{"no strings", "SELECT toString({x:Array(String)})", []string{}, "[]"},
		{"integers", "SELECT toString({x:Array(Int64)})", []int64{-9223372036854775808, 9223372036854775807}, "[-9223372036854775808,9223372036854775807]"},
		{"times", "SELECT toString({x:Array(DateTime64(6, 'UTC'))})", []time.Time{when, time.UnixMicro(1_700_000_000_000_000)}, "['2026-03-01 12:30:45.123456','2023-11-14 22:13:20.000000']"},
		{"the largest unsigned", "SELECT toString({x:UInt64})", uint64(18446744073709551615), "18446744073709551615"},
		{"a small type of our own", "SELECT toString({x:UInt8})", event.Match, "3"},
		{"a bool", "SELECT toString({x:Bool})", true, "true"},
		{"a 128-bit integer", "SELECT toString({x:Int128})", huge, "-170141183460469231731687303715884105728"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := one[string](t, db, tt.sql, map[string]any{"x": tt.value}); got != tt.want {
				t.Errorf("server saw %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := warehouse.Select[string](t.Context(), db, "SELECT {x:String}", map[string]any{"x": make(chan int)}); err == nil {
		t.Error("a channel was sent")
	}
}

func TestAnswersAreExact(t *testing.T) {
	db := warehousetest.Open(t)
	type row struct {
		At    time.Time `ch:"at"`
		Big   *big.Int  `ch:"big"`
		Wider *big.Int  `ch:"wider"`
		Names []string  `ch:"names"`
		ID    string    `ch:"id"`
		N     uint64    `ch:"n"`
		F     float64   `ch:"f"`
	}
	got := one[row](t, db, `SELECT toDateTime64('2026-03-01 12:30:45.123456', 6, 'UTC') AS at,
		toInt128('-170141183460469231731687303715884105728') AS big,
		toInt256('57896044618658097711785492504343953926634992332820282019728792003956564819967') AS wider,
		['a', 'b'] AS names, toUUID('00112233-4455-6677-8899-aabbccddeeff') AS id, toUInt64(18446744073709551615) AS n, 0.1 AS f`, nil)
	low, _ := new(big.Int).SetString("-170141183460469231731687303715884105728", 10)
	// 2^255 - 1
	high := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(1))
	want := row{time.Date(2026, 3, 1, 12, 30, 45, 123456000, time.UTC), low, high, []string{"a", "b"}, "00112233-4455-6677-8899-aabbccddeeff", 1<<64 - 1, 0.1}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); d != "" {
		t.Error(d)
	}
	rows, err := warehouse.Select[uint64](t.Context(), db, "SELECT number FROM numbers(200000)", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range rows {
		if n != uint64(i) {
			t.Fatalf("row %d is %d", i, n)
		}
	}
	if len(rows) != 200000 {
		t.Errorf("%d rows", len(rows))
	}
	if rows, err := warehouse.Select[uint64](t.Context(), db, "SELECT number FROM numbers(0)", nil); err != nil || len(rows) != 0 {
		t.Errorf("%v %v, want nothing", rows, err)
	}
}

func TestErrorsSayWhetherToTryAgain(t *testing.T) {
	db := warehousetest.Open(t)
	ask := func(ctx context.Context, db *warehouse.DB, sql string) error {
		_, err := warehouse.Select[uint64](ctx, db, sql, nil)
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	away, err := warehouse.Open(t.Context(), warehouse.Config{DSN: "http://" + l.Addr().String() + "/x", DialTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	awayNative, err := warehouse.Open(t.Context(), warehouse.Config{DSN: "clickhouse://" + l.Addr().String() + "/x", DialTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer awayNative.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"nothing listens there, by HTTP", ask(t.Context(), away, "SELECT 1"), true},
		{"nothing listens there, by the native protocol", ask(t.Context(), awayNative, "SELECT 1"), true},
		{"memory is short", ask(t.Context(), db, "SELECT uniqExact(number) FROM numbers(100000000) SETTINGS max_memory_usage = 20000000"), true},
		{"too many parts", ask(t.Context(), db, "SELECT throwIf(1, 'no more', toInt16(252)) SETTINGS allow_custom_error_code_in_throwif = 1"), true},
		{"no such table", ask(t.Context(), db, "SELECT * FROM nowhere"), false},
		{"no such column", ask(t.Context(), db, "SELECT nothing FROM exposures_raw"), false},
		{"no sense", ask(t.Context(), db, "SELEKT 1"), false},
		{"the caller gave up", ask(ended, db, "SELECT 1"), false},
		{"no error", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil && tt.name != "no error" {
				t.Fatal("there was no error")
			}
			if got := warehouse.IsRetryable(tt.err); got != tt.want {
				t.Errorf("retryable is %v of %v", got, tt.err)
			}
		})
	}
}

func TestWaitReadyWaitsForTheServerAndNotForAWrongPassword(t *testing.T) {
	db := warehousetest.Open(t)
	if err := db.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	away, err := warehouse.Open(t.Context(), warehouse.Config{DSN: "http://" + l.Addr().String() + "/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := away.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	tests := []struct {
		name string
		cfg  warehouse.Config
		want string
	}{
		{"no address", warehouse.Config{DSN: "clickhouse://"}, "CLICKHOUSE_DSN"},
		{"a cluster that is no name", warehouse.Config{Cluster: "a' b"}, "CLICKHOUSE_CLUSTER"},
		{"a negative limit", warehouse.Config{MaxConns: -1}, "CLICKHOUSE_MAX_CONNS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.cfg.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not name %s", err, tt.want)
			}
		})
	}
	if err := (warehouse.Config{}).Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
