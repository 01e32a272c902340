package warehouse

import (
	"context"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Select runs a query and returns its rows. A struct T takes columns by their
// names, which its fields carry in `ch:"column"` tags; any other T takes the
// only column. DateTime64 becomes time.Time, Int128 and Int256 *big.Int.
//
// Values go in as {name:Type} parameters, bound by the server: strings,
// numbers, bools, *big.Int, time.Time (to the microsecond, for DateTime64(6)),
// and slices of them for Array(…). Ending ctx ends the query.
func Select[T any](ctx context.Context, db *DB, sql string, params map[string]any) ([]T, error) {
	args, err := arguments(params)
	if err != nil {
		return nil, err
	}
	// Ended at return, so that an early one does not leave a reader behind.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := db.conn.Query(db.query(ctx, nil), sql, args...)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	defer rows.Close()
	whole := isStruct[T]()
	var out []T
	for rows.Next() {
		var row T
		if whole {
			err = rows.ScanStruct(&row)
		} else {
			err = rows.Scan(&row)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the warehouse's answer: %w", err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the warehouse's answer: %w", err)
	}
	return out, nil
}

// isStruct says whether T takes a row's columns, and not one value.
func isStruct[T any]() bool {
	t := reflect.TypeFor[T]()
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && t != reflect.TypeFor[big.Int]()
}

// argument is a parameter as the client sends it. Times keep their
// microseconds, whatever the value; the client's own choice would drop the
// fraction of a whole second, and with it the server's way to read it.
func argument(name string, value any) (any, error) {
	switch v := value.(type) {
	case time.Time:
		return clickhouse.Named(name, epoch(v)), nil
	case []time.Time:
		var b strings.Builder
		b.WriteByte('[')
		for i, t := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("'" + epoch(t) + "'")
		}
		b.WriteByte(']')
		return clickhouse.Named(name, text(b.String())), nil
	case *big.Int:
		return clickhouse.Named(name, text(v.String())), nil
	case []string, []int64, []uint64, []int, []float64, string, bool,
		int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return clickhouse.Named(name, v), nil
	}
	// Named types (type Kind uint8) by what they are.
	r := reflect.ValueOf(value)
	switch {
	case !r.IsValid():
	case r.CanInt():
		return clickhouse.Named(name, r.Int()), nil
	case r.CanUint():
		return clickhouse.Named(name, r.Uint()), nil
	case r.Kind() == reflect.String:
		return clickhouse.Named(name, r.String()), nil
	}
	return nil, fmt.Errorf("a %T cannot be sent", value)
}

// text goes to the server as it is.
type text string

func (t text) String() string { return string(t) }

// epoch is a time as ClickHouse reads a DateTime64(6): seconds and six digits
// after the point.
func epoch(t time.Time) string {
	us := t.UnixMicro()
	sign := ""
	if us < 0 {
		sign, us = "-", -us
	}
	return fmt.Sprintf("%s%d.%06d", sign, us/1e6, us%1e6)
}
