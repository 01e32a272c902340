package eventlog

import (
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrLogUnavailable: the log did not take or give the records in time.
	// Records it stands for may be in the log all the same, when the answer
	// was lost and not the request.
	ErrLogUnavailable = errors.New("log is unavailable")
	// ErrOverloaded: more bytes wait for the log than the producer may hold.
	// Nothing of the call was taken; it may be retried later.
	ErrOverloaded = errors.New("too many bytes wait for the log")
	// ErrTooLarge: the record is over the size limit and will never fit.
	ErrTooLarge = errors.New("record is too large for the log")
	// ErrUnknownTopic: the topic does not exist.
	ErrUnknownTopic = errors.New("topic does not exist")
	// ErrStaleGeneration: the group moved on, the partition may have another
	// owner, and nothing was committed.
	ErrStaleGeneration = errors.New("consumer group generation is stale")
	// ErrOffsetOutOfRange: the partition does not hold the offset, because it
	// was deleted by retention or never written.
	ErrOffsetOutOfRange = errors.New("offset is out of range")
	// ErrCorrupt: a batch of the log fails its checksum or its format.
	ErrCorrupt = errors.New("log holds a corrupt batch")
	// ErrClosed: the producer, reader, group or log was closed.
	ErrClosed = errors.New("closed")
)

// AppendError says which records of a call to [Producer.Append] were not
// acknowledged.
type AppendError struct {
	// ByRecord has one entry per record of the call, nil where the log has it.
	ByRecord []error
}

func (e *AppendError) Error() string {
	n := 0
	var first error
	for _, err := range e.ByRecord {
		if err != nil {
			if n++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("appending %d of %d records: %v", n, len(e.ByRecord), first)
}

// Unwrap makes errors.Is find every cause among the records.
func (e *AppendError) Unwrap() []error {
	var all []error
	var last error
	for _, err := range e.ByRecord {
		// Neighbours mostly share their batch's error.
		if err != nil && err != last {
			all = append(all, err)
			last = err
		}
	}
	return all
}

func failAll(n int, err error) *AppendError {
	e := &AppendError{ByRecord: make([]error, n)}
	for i := range e.ByRecord {
		e.ByRecord[i] = err
	}
	return e
}

// A verdict says what a producer does after an error code of a partition.
type verdict uint8

const (
	verdictDone     verdict = iota
	verdictRetry            // the same batch again, after a pause
	verdictReroute          // the same batch again, after asking who leads the partition
	verdictNewEpoch         // the broker expects another sequence: start anew
	verdictNewID            // the broker does not accept the producer id
	verdictFail             // the batch will never be accepted
)

// judge classifies the codes of https://kafka.apache.org/protocol#protocol_error_codes
// for a produce request with an idempotent producer.
func judge(code int16) verdict {
	switch kafka.Error(code) {
	case 0, kafka.DuplicateSequenceNumber:
		return verdictDone
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
		kafka.ReplicaNotAvailable, kafka.KafkaStorageError, kafka.FencedLeaderEpoch,
		kafka.UnknownLeaderEpoch, kafka.ListenerNotFound, kafka.OffsetNotAvailable:
		return verdictReroute
	case kafka.Unknown, kafka.InvalidMessage, kafka.RequestTimedOut, kafka.BrokerNotAvailable, kafka.NetworkException,
		kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.ConcurrentTransactions,
		kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup:
		return verdictRetry
	case kafka.OutOfOrderSequenceNumber, kafka.UnknownProducerId:
		return verdictNewEpoch
	case kafka.InvalidProducerEpoch, kafka.InvalidProducerIDMapping:
		return verdictNewID
	}
	return verdictFail
}
