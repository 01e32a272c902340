// Package brokertest starts embedded brokers for tests.
package brokertest

import (
	"os"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
)

// Env names the environment variable with the addresses, separated by commas,
// of real brokers to test against.
const Env = "HYPOSTREAM_TEST_BROKERS"

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

// Brokers returns the addresses of the brokers to test against: those of [Env],
// else a new embedded one.
func Brokers(t testing.TB) []string {
	t.Helper()
	if s := os.Getenv(Env); s != "" {
		return strings.Split(s, ",")
	}
	return []string{Start(t)}
}
