// Package deadletter keeps input that was taken but could not become a row, so
// that nothing accepted vanishes: with its reason, where it came from, and its
// bytes.
package deadletter

import (
	"context"
	"fmt"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
)

// MaxOriginal is how many of a letter's bytes are kept.
const MaxOriginal = 64 << 10

// Appender is the log to write to.
type Appender interface {
	Append(ctx context.Context, recs []eventlog.Record) error
}

// Writer writes dead letters to their topic.
type Writer struct {
	log   Appender
	codec *codec.Codec
	topic string
}

// New makes a writer to a topic.
func New(log Appender, c *codec.Codec, topic string) *Writer {
	return &Writer{log: log, codec: c, topic: topic}
}

// Write returns when the log has all letters. The key tells repeats: a letter
// of the aggregator has the place it was read from, one of ingest the hash of
// its content and reason.
func (w *Writer) Write(ctx context.Context, letters []event.DeadLetter) error {
	recs := make([]eventlog.Record, len(letters))
	for i := range letters {
		d := letters[i]
		key := key(&d) // of the whole original, before it is cut
		if len(d.Original) > MaxOriginal {
			d.Detail += fmt.Sprintf(" (%d bytes, the first %d kept)", len(d.Original), MaxOriginal)
			d.Original = d.Original[:MaxOriginal]
		}
		value, err := w.codec.AppendDeadLetter(nil, &d)
		if err != nil {
			return fmt.Errorf("encoding a dead letter: %w", err)
		}
		recs[i] = eventlog.Record{Topic: w.topic, Key: key, Value: value, Time: d.At}
	}
	if err := w.log.Append(ctx, recs); err != nil {
		return fmt.Errorf("writing %d dead letters: %w", len(letters), err)
	}
	return nil
}

func key(d *event.DeadLetter) []byte {
	if d.Topic != "" {
		return fmt.Appendf(nil, "%s/%d/%d", d.Topic, d.Partition, d.Offset)
	}
	return strconv.AppendUint([]byte(d.Project+"/"+string(d.Reason)+"/"), xxh3.Hash(d.Original), 16)
}
