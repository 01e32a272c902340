// Package brokertest starts embedded brokers for tests.
package brokertest

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
)

// Start runs a broker in memory, on a free port of the loopback interface, until
// the test ends, and returns its address.
func Start(t testing.TB) (addr string) {
	t.Helper()
	return StartIn(t, "").Addr()
}

// StartIn is Start with a data directory, for tests that need the Broker.
func StartIn(t testing.TB, dir string) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Addr: "127.0.0.1:0", DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
