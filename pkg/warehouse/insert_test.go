package warehouse_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 1000, time.UTC).UnixMicro()

// insert stores events at offsets 0, 1, … of partition 3.
func insert(t testing.TB, db *warehouse.DB, events ...event.Event) {
	t.Helper()
	for _, kind := range []event.Kind{event.Exposure, event.KPI, event.Match} {
		r := stitch.NewRows(kind)
		for i := range events {
			if events[i].Kind == kind {
				r.Append(&events[i], 3, int64(i))
			}
		}
		if err := db.InsertEvents(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryFieldIsStoredAsItWas(t *testing.T) {
	db := warehousetest.Open(t)
	long := strings.Repeat("é", 200)
	tags := []event.Tag{{Key: "a", Value: event.IntTag(9007199254740993)}, {Key: "b", Value: event.BoolTag(true)}, {Key: "é", Value: event.StringTag("x\x00'\n")}}
	insert(t, db,
		event.Event{Kind: event.Exposure, ID: event.ID{0: 1, 15: 255}, Project: "p", VisitorID: "v", UserID: "u", Time: now - 1, ReceivedAt: now,
			Experiment: "e", Variant: "b", OverrideReason: "qa", SDKError: "oops", Flags: event.Fallback | event.TimeMissing, Tags: tags},
		event.Event{Kind: event.KPI, ID: event.ID{2}, Project: "p", UserID: long, Time: now, ReceivedAt: now + 1, Name: "buy", ValueMicro: math.MinInt64, SDKError: "no"},
		event.Event{Kind: event.Match, ID: event.ID{3}, Project: "q", VisitorID: "v", UserID: "u", Time: now, ReceivedAt: now, Context: "signup", Flags: event.TimeReplaced, Tags: tags[:1]},
	)
	type row struct {
		Project, Key, ID, Visitor, User string
		Anchor, UserHash                uint64
		Time, Received                  time.Time
		Flags                           uint8
		Extra                           string
		Value                           int64
		Tags                            map[string]string
		Partition                       uint16
		Offset                          int64
	}
	columns := func(key, anchor, extra, value string) string {
		return fmt.Sprintf(`SELECT project AS Project, %s AS Key, toString(event_id) AS ID, visitor_id AS Visitor, user_id AS User, %s AS Anchor, user AS UserHash,
			time AS Time, received_at AS Received, flags AS Flags, %s AS Extra, %s AS Value, tags AS Tags, topic_partition AS Partition, offset AS Offset FROM `, key, anchor, extra, value)
	}
	at := func(us int64) time.Time { return time.UnixMicro(us).UTC() }
	all := map[string]string{"a": "9007199254740993", "b": "true", "é": "x\x00'\n"}
	tests := []struct {
		name, sql string
		want      row
	}{
		{"exposure", columns("experiment", "anchor", "concat(variant, override_reason, sdk_error)", "toInt64(0)") + "exposures_raw",
			row{"p", "e", "01000000-0000-0000-0000-0000000000ff", "v", "u", stitch.Visitor("v"), stitch.User("u"), at(now - 1), at(now), 8 | 16, "bqaoops", 0, all, 3, 0}},
		{"KPI", columns("name", "anchor", "toString(sdk_error)", "value_micro") + "kpis_raw",
			row{"p", "buy", "02000000-0000-0000-0000-000000000000", "", long, stitch.User(long), stitch.User(long), at(now), at(now + 1), 0, "no", math.MinInt64, map[string]string{}, 3, 1}},
		{"match", columns("context", "visitor", "''", "toInt64(0)") + "matches_raw",
			row{"q", "signup", "03000000-0000-0000-0000-000000000000", "v", "u", stitch.Visitor("v"), stitch.User("u"), at(now), at(now), 1, "", 0, map[string]string{"a": "9007199254740993"}, 3, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, one[row](t, db, tt.sql, nil)); d != "" {
				t.Error(d)
			}
		})
	}
}

// More distinct names than any cache on the way holds, beside the empty one.
func TestManyNamesStayApart(t *testing.T) {
	db := warehousetest.Open(t)
	r := stitch.NewRows(event.KPI)
	for i := range 70_000 {
		e := event.Event{Kind: event.KPI, ID: event.ID{byte(i), byte(i >> 8), byte(i >> 16)}, Project: "p", UserID: "u", ReceivedAt: now, Time: now, ValueMicro: int64(i)}
		if i%2 == 0 {
			e.Name = fmt.Sprint("n", i%20_000)
		}
		r.Append(&e, 0, int64(i))
	}
	if err := db.InsertEvents(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	bad := one[uint64](t, db, "SELECT count() FROM kpis_raw WHERE name != if(value_micro % 2 = 0, concat('n', toString(value_micro % 20000)), '')", nil)
	if n := one[uint64](t, db, "SELECT count() FROM kpis_raw", nil); n != 70_000 || bad != 0 {
		t.Errorf("%d rows, %d with another name, want 70000 and 0", n, bad)
	}
}

// Copies that come again, in one insert or another, in any month and any
// order, are one event: with the earliest receipt, under the first owner.
func TestTheViewsCountEachEventOnceUnderItsEntity(t *testing.T) {
	db := warehousetest.Open(t)
	month := int64(31 * 24 * time.Hour / time.Microsecond)
	e := event.Event{Kind: event.Exposure, ID: event.ID{1}, Project: "p", VisitorID: "v", Time: now, ReceivedAt: now, Experiment: "x", Variant: "a"}
	later := e
	later.ReceivedAt += month
	k := event.Event{Kind: event.KPI, ID: event.ID{2}, Project: "p", VisitorID: "v", Time: now, ReceivedAt: now, Name: "buy", ValueMicro: 1_500_000}
	m1 := event.Event{Kind: event.Match, ID: event.ID{3}, Project: "p", VisitorID: "v", UserID: "second", Time: now + 2, ReceivedAt: now}
	m2 := event.Event{Kind: event.Match, ID: event.ID{4}, Project: "p", VisitorID: "v", UserID: "first", Time: now + 1, ReceivedAt: now}
	elsewhere := event.Event{Kind: event.Match, ID: event.ID{5}, Project: "other", VisitorID: "v", UserID: "stranger", Time: 1, ReceivedAt: now}
	insert(t, db, later, k, k)
	type seen struct {
		N        uint64    `ch:"n"`
		Entity   uint64    `ch:"entity"`
		User     string    `ch:"u"`
		Received time.Time `ch:"received"`
	}
	exposures := "SELECT count() AS n, any(entity) AS entity, any(user_id) AS u, any(received_at) AS received FROM exposures"
	at := func(us int64) time.Time { return time.UnixMicro(us).UTC() }
	if got, want := one[seen](t, db, exposures, nil), (seen{1, stitch.Visitor("v"), "", at(now + month)}); got != want {
		t.Errorf("before any match: %+v, want %+v", got, want)
	}
	insert(t, db, e, k, m1, elsewhere)
	if got, want := one[seen](t, db, exposures, nil), (seen{1, stitch.User("second"), "second", at(now)}); got != want {
		t.Errorf("after a match: %+v, want %+v", got, want)
	}
	insert(t, db, m1, m2, later)
	if got, want := one[seen](t, db, exposures, nil), (seen{1, stitch.User("first"), "first", at(now)}); got != want {
		t.Errorf("after an earlier match: %+v, want %+v", got, want)
	}
	type sums struct {
		N     uint64  `ch:"n"`
		Micro int64   `ch:"micro"`
		Value float64 `ch:"v"`
	}
	if got := one[sums](t, db, "SELECT count() AS n, sum(value_micro) AS micro, sum(value) AS v FROM kpis", nil); got != (sums{1, 1_500_000, 1.5}) {
		t.Errorf("KPIs %+v, want one of 1.5", got)
	}
	type identity struct {
		User   string `ch:"user_id"`
		Owner  uint64 `ch:"owner"`
		Shared bool   `ch:"shared"`
	}
	if got, want := one[identity](t, db, "SELECT user_id, owner, shared FROM identities WHERE project = 'p'", nil), (identity{"first", stitch.User("first"), true}); got != want {
		t.Errorf("identity %+v, want %+v", got, want)
	}
	if n := one[uint64](t, db, "SELECT count() FROM matches", nil); n != 3 {
		t.Errorf("%d matches, want 3", n)
	}
	// the journal names what was touched, and up to where
	type change struct {
		Kind      uint8  `ch:"kind"`
		Key       string `ch:"key"`
		Partition uint16 `ch:"topic_partition"`
		Offset    int64  `ch:"offset"`
	}
	changes, err := warehouse.Select[change](t.Context(), db, `SELECT kind, key, topic_partition, max(offset) AS offset FROM changes
		WHERE project = 'p' GROUP BY kind, key, topic_partition ORDER BY kind`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]change{{1, "x", 3, 2}, {2, "buy", 3, 2}, {3, "", 3, 2}}, changes); d != "" {
		t.Error(d)
	}
}

// A replay of years of log may come as one block.
func TestOneBlockMaySpanManyMonths(t *testing.T) {
	db := warehousetest.Open(t)
	var events []event.Event
	for i := range 150 {
		at := time.Date(2012, time.Month(1+i), 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		events = append(events, event.Event{Kind: event.KPI, ID: event.ID{byte(i), 9}, Project: "p", UserID: "u", Name: "n", Time: at, ReceivedAt: at})
	}
	insert(t, db, events...)
	if n := one[uint64](t, db, "SELECT count() FROM kpis", nil); n != 150 {
		t.Errorf("%d events, want 150", n)
	}
}

func TestSmallTablesTakeRows(t *testing.T) {
	db := warehousetest.Open(t)
	type row struct {
		Topic     string    `ch:"topic"`
		Partition uint16    `ch:"topic_partition"`
		From      int64     `ch:"from_offset"`
		To        int64     `ch:"to_offset"`
		At        time.Time `ch:"at"`
	}
	want := row{"t", 7, 1 << 40, 1<<40 + 5, time.UnixMicro(now).UTC()}
	if err := warehouse.InsertRows(t.Context(), db, "batches", []row{want}); err != nil {
		t.Fatal(err)
	}
	if got := one[row](t, db, "SELECT topic, topic_partition, from_offset, to_offset, at FROM batches", nil); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := warehouse.InsertRows(t.Context(), db, "nowhere", []row{want}); err == nil || warehouse.IsRetryable(err) {
		t.Errorf("a table that is not there: %v", err)
	}
	if err := warehouse.InsertRows(t.Context(), db, "batches", []row{}); err != nil {
		t.Errorf("no rows: %v", err)
	}
}
