package warehouse

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Codes of ClickHouse's exceptions (src/Common/ErrorCodes.cpp).
const (
	codeTableExists     = 57
	codeUnknownDatabase = 81
	codeDatabaseExists  = 82
)

// passing are the exceptions that may be gone when the same is asked again.
var passing = []int32{
	159, // TIMEOUT_EXCEEDED
	160, // TOO_SLOW
	164, // READONLY
	202, // TOO_MANY_SIMULTANEOUS_QUERIES
	203, // NO_FREE_CONNECTION
	209, // SOCKET_TIMEOUT
	210, // NETWORK_ERROR
	225, // NO_ZOOKEEPER
	236, // ABORTED
	241, // MEMORY_LIMIT_EXCEEDED
	242, // TABLE_IS_READ_ONLY
	243, // NOT_ENOUGH_SPACE
	252, // TOO_MANY_PARTS
	279, // ALL_CONNECTION_TRIES_FAILED
	285, // TOO_FEW_LIVE_REPLICAS
	286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
	289, // REPLICA_IS_NOT_IN_QUORUM
	319, // UNKNOWN_STATUS_OF_INSERT
	394, // QUERY_WAS_CANCELLED
	425, // SYSTEM_ERROR
	473, // DEADLOCK_AVOIDED
	692, // TOO_MANY_MUTATIONS
	999, // KEEPER_EXCEPTION
}

// code is the exception that the server answered with, 0 for none.
func code(err error) int32 {
	var x *clickhouse.Exception
	if errors.As(err, &x) {
		return x.Code
	}
	return 0
}

// IsRetryable says whether the same may work later: the server could not be
// reached, did not answer, or says that it lacks something for the moment
// (memory, space, parts, a quorum). What is wrong with a statement or a schema
// stays wrong. An ended context of the caller's is not worth a repetition.
func IsRetryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if c := code(err); c != 0 {
		return slices.Contains(passing, c)
	}
	var status *clickhouse.HTTPError
	if errors.As(err, &status) { // a proxy's, the server's have a code
		return status.StatusCode >= http.StatusInternalServerError || status.StatusCode == http.StatusTooManyRequests
	}
	var network net.Error
	var number syscall.Errno
	return errors.As(err, &network) || errors.As(err, &number) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout) || errors.Is(err, clickhouse.ErrAcquireConnNoAddress) ||
		errors.Is(err, clickhouse.ErrConnectionClosed)
}
