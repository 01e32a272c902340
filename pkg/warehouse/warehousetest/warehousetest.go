// Package warehousetest gives tests a warehouse on the embedded engine.
package warehousetest

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// Main runs a package's tests with the engine that [Open] needs, and exits:
//
//	func TestMain(m *testing.M) { warehousetest.Main(m) }
func Main(m *testing.M) { enginetest.Main(m) }

// Open is a fresh, migrated database, closed when the test ends.
func Open(t testing.TB) *warehouse.DB {
	t.Helper()
	return OpenDSN(t, enginetest.Database(t))
}

// OpenDSN is Open for a database that the test knows the address of.
func OpenDSN(t testing.TB, dsn string) *warehouse.DB {
	t.Helper()
	db, err := warehouse.Open(t.Context(), warehouse.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatalf("migrating: %v", err)
	}
	return db
}
