package warehouse

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/stitch"
)

// A field is a column of an events table, and how its values are sent.
type field struct {
	name string
	send func(col driver.BatchColumn, r *stitch.Rows, x *scratch) error
}

// target is the table of a kind of events.
type target struct {
	table  string
	fields []field
}

var (
	project    = field{"project", names(func(r *stitch.Rows) *stitch.Names { return &r.Project })}
	anchor     = field{"anchor", whole(func(r *stitch.Rows) []uint64 { return r.Anchor })}
	user       = field{"user", whole(func(r *stitch.Rows) []uint64 { return r.User })}
	eventID    = field{"event_id", ids}
	at         = field{"time", times(func(r *stitch.Rows) []int64 { return r.Time })}
	receivedAt = field{"received_at", times(func(r *stitch.Rows) []int64 { return r.ReceivedAt })}
	flags      = field{"flags", whole(func(r *stitch.Rows) []uint8 { return r.Flags })}
	sdkError   = field{"sdk_error", names(func(r *stitch.Rows) *stitch.Names { return &r.SDKError })}
	visitorID  = field{"visitor_id", texts(func(r *stitch.Rows) *stitch.Texts { return &r.VisitorID })}
	userID     = field{"user_id", texts(func(r *stitch.Rows) *stitch.Texts { return &r.UserID })}
	tags       = field{"tags", tagMaps}
	partition  = field{"topic_partition", whole(func(r *stitch.Rows) []uint16 { return r.Partition })}
	offset     = field{"offset", whole(func(r *stitch.Rows) []int64 { return r.Offset })}
)

var targets = map[event.Kind]target{
	event.Exposure: {"exposures_raw", []field{
		project, {"experiment", names(func(r *stitch.Rows) *stitch.Names { return &r.Key })}, anchor, user, eventID, at, receivedAt,
		{"variant", names(func(r *stitch.Rows) *stitch.Names { return &r.Variant })}, sdkError,
		{"override_reason", names(func(r *stitch.Rows) *stitch.Names { return &r.OverrideReason })}, flags,
		visitorID, userID, tags, partition, offset,
	}},
	event.KPI: {"kpis_raw", []field{
		project, {"name", names(func(r *stitch.Rows) *stitch.Names { return &r.Key })}, anchor, user, eventID, at, receivedAt,
		{"value_micro", whole(func(r *stitch.Rows) []int64 { return r.ValueMicro })}, sdkError, flags,
		visitorID, userID, tags, partition, offset,
	}},
	event.Match: {"matches_raw", []field{
		project, {"visitor", whole(func(r *stitch.Rows) []uint64 { return r.Anchor })}, user, eventID, at, receivedAt,
		{"context", names(func(r *stitch.Rows) *stitch.Names { return &r.Key })}, flags,
		visitorID, userID, tags, partition, offset,
	}},
}

// whole sends a slice that is a column as it stands.
func whole[T any](get func(*stitch.Rows) []T) func(driver.BatchColumn, *stitch.Rows, *scratch) error {
	return func(col driver.BatchColumn, r *stitch.Rows, _ *scratch) error { return col.Append(get(r)) }
}

// scratch is memory for the forms that the client wants columns in.
type scratch struct {
	ids   []uuid.UUID
	times []time.Time
	tags  tagMap
}

// boxes are a column's distinct names as interfaces: one of each, where the
// client would make one of each row.
func boxes(n *stitch.Names) []any {
	out := make([]any, len(n.Values()))
	for i, s := range n.Values() {
		out[i] = s
	}
	return out
}

// names sends a column of few distinct strings.
func names(get func(*stitch.Rows) *stitch.Names) func(driver.BatchColumn, *stitch.Rows, *scratch) error {
	return func(col driver.BatchColumn, r *stitch.Rows, _ *scratch) error {
		n := get(r)
		values := boxes(n)
		for _, i := range n.Rows() {
			if err := col.AppendRow(values[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

// texts sends a column of many strings.
func texts(get func(*stitch.Rows) *stitch.Texts) func(driver.BatchColumn, *stitch.Rows, *scratch) error {
	return func(col driver.BatchColumn, r *stitch.Rows, _ *scratch) error {
		t := get(r)
		var b []byte
		for i := range t.Len() {
			b = t.At(i)
			if err := col.AppendRow(&b); err != nil { // a pointer: no copy is made
				return err
			}
		}
		return nil
	}
}

func ids(col driver.BatchColumn, r *stitch.Rows, x *scratch) error {
	x.ids = slices.Grow(x.ids[:0], len(r.ID))
	for _, id := range r.ID {
		x.ids = append(x.ids, uuid.UUID(id))
	}
	return col.Append(x.ids)
}

func times(get func(*stitch.Rows) []int64) func(driver.BatchColumn, *stitch.Rows, *scratch) error {
	return func(col driver.BatchColumn, r *stitch.Rows, x *scratch) error {
		x.times = slices.Grow(x.times[:0], r.Len())
		for _, us := range get(r) {
			x.times = append(x.times, time.UnixMicro(us))
		}
		return col.Append(x.times)
	}
}

func tagMaps(col driver.BatchColumn, r *stitch.Rows, x *scratch) error {
	m := &x.tags
	*m = tagMap{rows: r, keys: boxes(&r.TagKey), at: -1}
	for _, end := range r.TagEnd {
		m.end = end
		if err := col.AppendRow(m); err != nil {
			return err
		}
	}
	*m = tagMap{}
	return nil
}

// tagMap is one row's tags after the other, as the client reads maps in order.
type tagMap struct {
	rows    *stitch.Rows
	keys    []any
	value   []byte
	at, end int
}

func (m *tagMap) Put(any, any)                 {}
func (m *tagMap) Iterator() column.MapIterator { return m }
func (m *tagMap) Key() any                     { return m.keys[m.rows.TagKey.Rows()[m.at]] }

func (m *tagMap) Value() any {
	m.value = m.rows.TagValue.At(m.at)
	return &m.value
}

func (m *tagMap) Next() bool {
	if m.at+1 == m.end {
		return false
	}
	m.at++
	return true
}

// insertSettings are those of every insert of events. Equal blocks are not
// skipped: the engine notes a block before its part is in place, so a kill
// between the two would lose what is sent again; event ids collapse instead.
// Sorting out equal rows is left to the merges (and FINAL), which is half
// again as fast.
var insertSettings = clickhouse.Settings{
	"insert_deduplicate": 0,
	"optimize_on_insert": 0,
	// A replay of years of log spans many months.
	"max_partitions_per_insert_block": 0,
}

// InsertEvents stores events of one kind as one block. It may be repeated
// after any error: the tables count an event once however often it is stored.
func (db *DB) InsertEvents(ctx context.Context, r *stitch.Rows) error {
	t, ok := targets[r.Kind]
	if !ok {
		return fmt.Errorf("inserting events: kind %d is not known", r.Kind)
	}
	if r.Len() == 0 {
		return nil
	}
	cols := make([]string, len(t.fields))
	for i, f := range t.fields {
		cols[i] = f.name
	}
	return db.insert(ctx, t.table, cols, insertSettings, func(b driver.Batch) error {
		db.spares.lend(t.table, b)
		x := db.scratch.Get().(*scratch)
		defer db.scratch.Put(x)
		for i, f := range t.fields {
			if err := f.send(b.Column(i), r, x); err != nil {
				return fmt.Errorf("column %s: %w", f.name, err)
			}
		}
		return nil
	})
}

// InsertRows stores rows in a small table. T is a struct with `ch:"column"`
// tags; table is a constant of the program, never input.
func InsertRows[T any](ctx context.Context, db *DB, table string, rows []T) error {
	if len(rows) == 0 {
		return nil
	}
	cols := tagged(reflect.TypeFor[T]())
	if len(cols) == 0 {
		return fmt.Errorf("inserting into %s: %T has no field with a ch tag", table, *new(T))
	}
	return db.insert(ctx, table, cols, clickhouse.Settings{"insert_deduplicate": 0}, func(b driver.Batch) error {
		for i := range rows {
			if err := b.AppendStruct(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func tagged(t reflect.Type) []string {
	var cols []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("ch"); name != "" && name != "-" {
			cols = append(cols, name)
		}
	}
	return cols
}

func (db *DB) insert(ctx context.Context, table string, cols []string, settings clickhouse.Settings, fill func(driver.Batch) error) error {
	ctx = db.query(ctx, settings)
	if db.opts.Protocol == clickhouse.HTTP {
		types, err := db.columnTypes(ctx, table, cols)
		if err != nil {
			return fmt.Errorf("inserting into %s: %w", table, err)
		}
		ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(types))
	}
	b, err := db.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+strings.Join(cols, ", ")+")")
	if err != nil {
		return fmt.Errorf("inserting into %s: %w", table, err)
	}
	if err := fill(b); err != nil {
		return errors.Join(fmt.Errorf("inserting into %s: %w", table, err), b.Abort())
	}
	if err := b.Send(); err != nil {
		return fmt.Errorf("inserting into %s: %w", table, err)
	}
	db.spares.keep(table, b)
	return nil
}

// columnTypes asks once for the types of a table's columns. The native
// protocol gives them with each insert, HTTP does not.
func (db *DB) columnTypes(ctx context.Context, table string, cols []string) ([]clickhouse.ColumnNameAndType, error) {
	db.mu.Lock()
	all, ok := db.types[table]
	db.mu.Unlock()
	if !ok {
		rows, err := Select[struct {
			Name string `ch:"name"`
			Type string `ch:"type"`
		}](ctx, db, "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}", map[string]any{"table": table})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, clickhouse.ColumnNameAndType{Name: r.Name, Type: r.Type})
		}
		if len(all) > 0 { // a table that is still to come is asked for again
			db.mu.Lock()
			if db.types == nil {
				db.types = map[string][]clickhouse.ColumnNameAndType{}
			}
			db.types[table] = all
			db.mu.Unlock()
		}
	}
	out := make([]clickhouse.ColumnNameAndType, len(cols))
	for i, c := range cols {
		n := slices.IndexFunc(all, func(x clickhouse.ColumnNameAndType) bool { return x.Name == c })
		if n < 0 {
			return nil, fmt.Errorf("column %s: %w", c, errNoColumn)
		}
		out[i] = all[n]
	}
	return out, nil
}

// errNoColumn: the table, or a column of it, does not exist.
var errNoColumn = errors.New("is not in the warehouse; has it been migrated?")
