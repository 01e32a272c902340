package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// Topic names a topic and how it is created when it is missing.
type Topic struct {
	Name string
	// Partitions is the exact count wanted. 0 means: as many as the other
	// topics of the call that leave it 0, Config.Partitions when none of
	// them exists yet.
	Partitions int
	// Configs are Kafka's topic settings, such as cleanup.policy or
	// min.compaction.lag.ms. They are not changed on an existing topic.
	Configs map[string]string
}

// EnsureTopics creates the topics that do not exist. It fails when an existing
// topic has another partition count than asked, or than its siblings: topics
// that are stitched by partition number must be cut alike.
func (l *Log) EnsureTopics(ctx context.Context, topics ...Topic) error {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	if err := l.cluster.refresh(ctx, names...); err != nil {
		return err
	}
	siblings, sibling := 0, ""
	var missing []Topic
	for _, t := range topics {
		n := l.cluster.known(t.Name)
		switch {
		case n == 0:
			missing = append(missing, t)
		case t.Partitions > 0 && n != t.Partitions:
			return fmt.Errorf("topic %s has %d partitions, not %d", t.Name, n, t.Partitions)
		case t.Partitions == 0 && siblings != 0 && n != siblings:
			return fmt.Errorf("topic %s has %d partitions, but %s has %d: they must be equal", t.Name, n, sibling, siblings)
		case t.Partitions == 0:
			siblings, sibling = n, t.Name
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if siblings == 0 {
		siblings = l.cfg.Partitions
	}
	if err := l.createTopics(ctx, missing, siblings); err != nil {
		return err
	}
	return l.awaitTopics(ctx, topics, siblings)
}

func (l *Log) createTopics(ctx context.Context, topics []Topic, partitions int) error {
	k, err := l.cluster.any(ctx, true)
	if err != nil {
		return err
	}
	defer k.close()
	req := &createtopics.Request{TimeoutMs: int32(l.cfg.RequestTimeout / time.Millisecond)}
	for _, t := range topics {
		rt := createtopics.RequestTopic{Name: t.Name, NumPartitions: int32(t.Partitions), ReplicationFactor: int16(l.cfg.Replication)}
		if t.Partitions == 0 {
			rt.NumPartitions = int32(partitions)
		}
		for _, name := range slices.Sorted(maps.Keys(t.Configs)) {
			rt.Configs = append(rt.Configs, createtopics.RequestConfig{Name: name, Value: t.Configs[name]})
		}
		req.Topics = append(req.Topics, rt)
	}
	res, err := ask[*createtopics.Response](ctx, k, l.cfg.RequestTimeout+time.Second, req)
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	var errs []error
	for _, t := range res.Topics {
		// Another process may have been first.
		if code := kafka.Error(t.ErrorCode); code != 0 && code != kafka.TopicAlreadyExists {
			errs = append(errs, codeError("creating topic "+t.Name, code, t.ErrorMessage))
		}
	}
	return errors.Join(errs...)
}

func codeError(doing string, code kafka.Error, message string) error {
	if message == "" {
		return fmt.Errorf("%s: %w", doing, code)
	}
	return fmt.Errorf("%s: %w: %s", doing, code, strings.TrimSpace(message))
}

// awaitTopics waits until every topic has a leader for every partition, and
// checks the counts of those that another process made.
func (l *Log) awaitTopics(ctx context.Context, topics []Topic, partitions int) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		ready := true
		for _, t := range topics {
			n := l.cluster.known(t.Name)
			want := t.Partitions
			if want == 0 {
				want = partitions
			}
			if n != 0 && n != want {
				return fmt.Errorf("topic %s has %d partitions, not %d", t.Name, n, want)
			}
			ready = ready && n != 0
			for p := range n {
				_, _, ok := l.cluster.leader(t.Name, int32(p))
				ready = ready && ok
			}
		}
		if ready {
			return nil
		}
		if !sleep(ctx, pause) {
			return fmt.Errorf("waiting for new topics: %w", ctx.Err())
		}
		if err := l.cluster.refresh(ctx); err != nil && ctx.Err() != nil {
			return fmt.Errorf("waiting for new topics: %w", err)
		}
	}
}

// Partitions returns a topic's partition count.
func (l *Log) Partitions(ctx context.Context, topic string) (int, error) {
	return l.cluster.partitions(ctx, topic)
}

// EndOffsets returns, by topic and partition, the offset after the last record
// that a reader can see.
func (l *Log) EndOffsets(ctx context.Context, topics ...string) (map[string]map[int32]int64, error) {
	return l.listOffsets(ctx, -1, topics)
}

// StartOffsets returns, by topic and partition, the first offset there is.
func (l *Log) StartOffsets(ctx context.Context, topics ...string) (map[string]map[int32]int64, error) {
	return l.listOffsets(ctx, -2, topics)
}

// listOffsets asks every leader for its partitions' offsets at a time, -1 for
// the end and -2 for the start, until all are known or ctx ends.
func (l *Log) listOffsets(ctx context.Context, at int64, topics []string) (map[string]map[int32]int64, error) {
	out := make(map[string]map[int32]int64, len(topics))
	left := make(map[topicPartition]struct{})
	for _, t := range topics {
		n, err := l.cluster.partitions(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("listing offsets: %w", err)
		}
		out[t] = make(map[int32]int64, n)
		for p := range n {
			left[topicPartition{t, int32(p)}] = struct{}{}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		byLeader := make(map[string][]topicPartition)
		for tp := range left {
			if _, addr, ok := l.cluster.leader(tp.topic, tp.partition); ok {
				byLeader[addr] = append(byLeader[addr], tp)
			}
		}
		err := error(kafka.LeaderNotAvailable)
		for addr, tps := range byLeader {
			if e := l.offsetsOf(ctx, addr, at, tps, func(tp topicPartition, offset int64) {
				out[tp.topic][tp.partition] = offset
				delete(left, tp)
			}); e != nil {
				err = e
			}
		}
		if len(left) == 0 {
			return out, nil
		}
		if !sleep(ctx, pause) {
			return nil, fmt.Errorf("%w: listing offsets: %w", ErrLogUnavailable, err)
		}
		if e := l.cluster.refresh(ctx); e != nil {
			err = e
		}
	}
}

func (l *Log) offsetsOf(ctx context.Context, addr string, at int64, tps []topicPartition, found func(topicPartition, int64)) error {
	k, err := l.cluster.dial(ctx, addr, l.cfg.DialTimeout)
	if err != nil {
		return err
	}
	defer k.close()
	byTopic := make(map[string][]listoffsets.RequestPartition)
	for _, tp := range tps {
		byTopic[tp.topic] = append(byTopic[tp.topic], listoffsets.RequestPartition{Partition: tp.partition, CurrentLeaderEpoch: -1, Timestamp: at})
	}
	req := &listoffsets.Request{ReplicaID: -1, IsolationLevel: readCommitted}
	for t, ps := range byTopic {
		req.Topics = append(req.Topics, listoffsets.RequestTopic{Topic: t, Partitions: ps})
	}
	res, err := ask[*listoffsets.Response](ctx, k, l.cfg.RequestTimeout, req)
	if err != nil {
		return err
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				err = kafka.Error(p.ErrorCode)
				continue
			}
			found(topicPartition{t.Topic, p.Partition}, p.Offset)
		}
	}
	return err
}

// Committed is what a consumer group last committed for a partition.
type Committed struct {
	Offset   int64 // -1: nothing
	Metadata string
}

// Committed returns what a group committed, by topic and partition, with an
// entry for every partition.
func (l *Log) Committed(ctx context.Context, group string, topics ...string) (map[string]map[int32]Committed, error) {
	req := &offsetfetch.Request{GroupID: group}
	for _, t := range topics {
		n, err := l.cluster.partitions(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("reading committed offsets: %w", err)
		}
		rt := offsetfetch.RequestTopic{Name: t}
		for p := range n {
			rt.PartitionIndexes = append(rt.PartitionIndexes, int32(p))
		}
		req.Topics = append(req.Topics, rt)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		out, err := l.committed(ctx, group, req)
		if err == nil {
			return out, nil
		}
		if !retryable(err) || !sleep(ctx, pause) {
			return nil, fmt.Errorf("reading committed offsets of group %s: %w", group, err)
		}
	}
}

func (l *Log) committed(ctx context.Context, group string, req *offsetfetch.Request) (map[string]map[int32]Committed, error) {
	var res *offsetfetch.Response
	err := l.withCoordinator(ctx, group, func(k *link) (err error) {
		res, err = ask[*offsetfetch.Response](ctx, k, l.cfg.RequestTimeout, req)
		if err == nil && res.ErrorCode != 0 && kafka.Error(res.ErrorCode) != kafka.GroupIdNotFound {
			err = kafka.Error(res.ErrorCode)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make(map[string]map[int32]Committed, len(res.Topics))
	if res.ErrorCode != 0 { // a group that nobody joined yet has committed nothing
		for _, t := range req.Topics {
			out[t.Name] = make(map[int32]Committed, len(t.PartitionIndexes))
			for _, p := range t.PartitionIndexes {
				out[t.Name][p] = Committed{Offset: -1}
			}
		}
		return out, nil
	}
	for _, t := range res.Topics {
		out[t.Name] = make(map[int32]Committed, len(t.Partitions))
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("%s-%d: %w", t.Name, p.PartitionIndex, kafka.Error(p.ErrorCode))
			}
			out[t.Name][p.PartitionIndex] = Committed{Offset: p.CommittedOffset, Metadata: p.Metadata}
		}
	}
	return out, nil
}

// withCoordinator runs f on the link to a group's coordinator, one caller at a
// time. A link on which f failed is not used again.
func (l *Log) withCoordinator(ctx context.Context, group string, f func(*link) error) error {
	l.mu.Lock()
	k := l.coordinators[group]
	delete(l.coordinators, group) // ours until it is put back
	l.mu.Unlock()
	if k == nil || k.broken.Load() {
		var err error
		if k, err = l.cluster.coordinator(ctx, group); err != nil {
			return err
		}
	}
	if err := f(k); err != nil {
		k.close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.coordinators[group]; other != nil {
		k.close()
	} else {
		l.coordinators[group] = k
	}
	return nil
}

// retryable says whether asking again may help: the network failed, or the
// broker says that its fault is a passing one.
func retryable(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		return code.Temporary() || code == kafka.NotCoordinatorForGroup || code == kafka.GroupCoordinatorNotAvailable ||
			code == kafka.GroupLoadInProgress || code == kafka.UnstableOffsetCommit || code == kafka.Unknown
	}
	var net net.Error
	return errors.As(err, &net) || isEOF(err) || errors.Is(err, ErrLogUnavailable) || errors.Is(err, ErrClosed)
}
