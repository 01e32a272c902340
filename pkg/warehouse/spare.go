package warehouse

import (
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// spares keeps the columns of the last block that was sent to a table, for
// their memory: the client makes new ones for each block and lets them grow by
// doubling, which is most of an insert's work besides.
type spares struct {
	mu      sync.Mutex
	byTable map[string][]column.Interface
}

// lend gives a new batch's columns the memory of the last one's.
func (s *spares) lend(table string, b driver.Batch) {
	s.mu.Lock()
	old := s.byTable[table]
	delete(s.byTable, table)
	s.mu.Unlock()
	cols := b.Columns()
	if len(cols) != len(old) {
		return
	}
	for i, c := range cols {
		if c.Name() != old[i].Name() || c.Type() != old[i].Type() {
			continue
		}
		old[i].Reset()
		switch c := c.(type) {
		case *column.String:
			take(c, old[i])
		case *column.UUID:
			take(c, old[i])
		case *column.DateTime64:
			take(c, old[i])
		case *column.Map:
			take(c, old[i])
		case *column.LowCardinality:
			take(c, old[i])
		case *column.UInt8:
			take(c, old[i])
		case *column.UInt16:
			take(c, old[i])
		case *column.UInt64:
			take(c, old[i])
		case *column.Int64:
			take(c, old[i])
		}
	}
}

// take moves a column's whole state; the old one is not used again.
func take[T any](c *T, old any) {
	if o, ok := old.(*T); ok {
		*c = *o
	}
}

// keep holds on to the columns of a batch that was sent.
func (s *spares) keep(table string, b driver.Batch) {
	cols := b.Columns()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byTable == nil {
		s.byTable = map[string][]column.Interface{}
	}
	s.byTable[table] = cols
}
