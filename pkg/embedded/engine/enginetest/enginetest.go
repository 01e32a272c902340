// Package enginetest gives tests the embedded ClickHouse engine: one for the
// test process, since the library holds one, and a fresh database a test.
//
// A package that uses it must shut the engine down at its end:
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/engine"
)

var (
	underMain bool
	databases atomic.Int64

	start  sync.Once
	server *engine.Server
	failed error
)

// Main runs a package's tests, shuts the engine down and exits.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a package with more to clean up: it returns the exit code.
func Run(m *testing.M) int {
	underMain = true
	code := m.Run()
	if server != nil {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the engine:", err)
			code = max(code, 1)
		}
	}
	return code
}

// Start returns the process's engine, started on first use with data that are
// thrown away. Without the library the test is skipped, or fails if CI=true.
func Start(t testing.TB) *engine.Server {
	t.Helper()
	if !underMain {
		t.Fatal("enginetest: this package needs func TestMain(m *testing.M) { enginetest.Main(m) }")
	}
	start.Do(func() {
		server, failed = engine.Start(context.Background(), engine.Config{Addr: "127.0.0.1:0"})
	})
	if errors.Is(failed, engine.ErrNoLibrary) && os.Getenv("CI") != "true" {
		t.Skip("skipped: ", failed)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return server
}

// Database makes an empty database for this test, dropped at its end, and
// returns its data source name for clickhouse-go.
func Database(t testing.TB) (dsn string) {
	t.Helper()
	s := Start(t)
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := s.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name); err != nil {
			t.Error(err)
		}
	})
	return s.DatabaseDSN(name)
}
