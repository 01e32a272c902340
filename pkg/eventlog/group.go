package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
)

// GroupConfig names a consumer group and its topics.
type GroupConfig struct {
	ID string
	// Topics must have equal partition counts: partition number p of all of
	// them goes to the same member.
	Topics []string
	// SessionTimeout is how long a member may be silent before the others
	// take its partitions over. Default 10 s.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long the group waits, at a rebalance, for the
	// functions of [Generation.Start] to return. Default 30 s.
	RebalanceTimeout time.Duration
	// HeartbeatInterval is how soon a member learns of a rebalance. Default
	// a tenth of SessionTimeout, at most 1 s.
	HeartbeatInterval time.Duration
	// PartitionWatch is how often the topics' partition counts are looked
	// at. Default 30 s.
	PartitionWatch time.Duration
}

// A Group is this process's membership of a consumer group.
type Group struct {
	log *Log
	cfg GroupConfig
	cg  *kafka.ConsumerGroup
}

// NewGroup joins a consumer group in the background.
func (l *Log) NewGroup(cfg GroupConfig) (*Group, error) {
	setDefault(&cfg.SessionTimeout, 10*time.Second)
	setDefault(&cfg.RebalanceTimeout, 30*time.Second)
	setDefault(&cfg.HeartbeatInterval, min(cfg.SessionTimeout/10, time.Second))
	setDefault(&cfg.PartitionWatch, 30*time.Second)
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:      cfg.ID,
		Brokers: l.cfg.Brokers,
		Topics:  cfg.Topics,
		Dialer: &kafka.Dialer{
			ClientID: l.cfg.ClientID, Timeout: l.cfg.DialTimeout, DualStack: true, KeepAlive: 30 * time.Second,
			TLS: l.cluster.tls, SASLMechanism: l.cluster.sasl,
		},
		GroupBalancers:         []kafka.GroupBalancer{alike{}},
		HeartbeatInterval:      cfg.HeartbeatInterval,
		SessionTimeout:         cfg.SessionTimeout,
		RebalanceTimeout:       cfg.RebalanceTimeout,
		PartitionWatchInterval: cfg.PartitionWatch,
		WatchPartitionChanges:  true,
		JoinGroupBackoff:       500 * time.Millisecond,
		Timeout:                l.cfg.RequestTimeout,
		StartOffset:            kafka.FirstOffset,
	})
	if err != nil {
		return nil, fmt.Errorf("joining group %s: %w", cfg.ID, err)
	}
	return &Group{log: l, cfg: cfg, cg: cg}, nil
}

// alike is the range balancer, which gives every member the same partition
// numbers of each topic: provided that it gets them in the same order. kafka-go
// passes them on in the broker's order, which may differ between topics.
type alike struct{ kafka.RangeGroupBalancer }

func (a alike) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	sorted := slices.SortedFunc(slices.Values(partitions), func(x, y kafka.Partition) int { return x.ID - y.ID })
	return a.RangeGroupBalancer.AssignGroups(members, sorted)
}

// Close leaves the group, after the functions of the generation under way have
// returned: the others need not wait for a time-out.
func (g *Group) Close() error { return g.cg.Close() }

// Next waits for the next generation. It retries for ever and says so in the
// log; it returns an error when ctx ends, the group is closed, or the topics'
// partition counts differ.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	var said time.Time
	for {
		kg, err := g.cg.Next(ctx)
		switch {
		case err == nil:
			gen, err := g.begin(ctx, kg)
			if err != nil && retryable(err) && ctx.Err() == nil {
				g.say(&said, err)
				continue
			}
			return gen, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kafka.ErrGroupClosed):
			return nil, fmt.Errorf("consumer group %s: %w", g.cfg.ID, ErrClosed)
		case errors.Is(err, kafka.RebalanceInProgress):
			// The usual way into the next generation.
		default:
			g.say(&said, err)
		}
	}
}

func (g *Group) say(last *time.Time, err error) {
	if time.Since(*last) > 10*time.Second {
		slog.Warn("joining the consumer group again", "group", g.cfg.ID, "error", err)
		*last = time.Now()
	}
}

// begin finds where a generation's partitions start. Until it is known nothing
// is handed out; when it cannot be known the generation is given up.
func (g *Group) begin(ctx context.Context, kg *kafka.Generation) (*Generation, error) {
	gen := &Generation{group: g, kg: kg}
	// A function that returns ends the generation; this one stays to the end.
	kg.Start(gen.keep)
	if err := g.assign(ctx, gen); err != nil {
		kg.Start(func(context.Context) {})
		return nil, err
	}
	return gen, nil
}

func (g *Group) assign(ctx context.Context, gen *Generation) error {
	if err := g.checkCounts(ctx); err != nil {
		return err
	}
	committed, err := g.log.Committed(ctx, g.cfg.ID, g.cfg.Topics...)
	if err != nil {
		return err
	}
	var starts map[string]map[int32]int64
	for topic, parts := range gen.kg.Assignments {
		for _, p := range parts {
			a := Assigned{Topic: topic, Partition: int32(p.ID), Offset: -1}
			if c, ok := committed[topic][a.Partition]; ok {
				a.Offset, a.Metadata = c.Offset, c.Metadata
			}
			if a.Offset < 0 {
				if starts == nil {
					if starts, err = g.log.StartOffsets(ctx, g.cfg.Topics...); err != nil {
						return err
					}
				}
				a.Offset = starts[topic][a.Partition]
			}
			gen.assigned = append(gen.assigned, a)
		}
	}
	slices.SortFunc(gen.assigned, func(a, b Assigned) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return slices.Index(g.cfg.Topics, a.Topic) - slices.Index(g.cfg.Topics, b.Topic)
	})
	return nil
}

// checkCounts makes sure that the topics are cut alike.
func (g *Group) checkCounts(ctx context.Context) error {
	if err := g.log.cluster.refresh(ctx, g.cfg.Topics...); err != nil {
		return err
	}
	first := g.log.cluster.known(g.cfg.Topics[0])
	for _, t := range g.cfg.Topics {
		if n := g.log.cluster.known(t); n != first {
			return fmt.Errorf("topic %s has %d partitions, but %s has %d: they must be equal", t, n, g.cfg.Topics[0], first)
		}
	}
	return nil
}

// Assigned is a partition of this member, and where to go on.
type Assigned struct {
	Topic     string
	Partition int32
	Offset    int64  // committed, or the partition's first when nothing is
	Metadata  string // committed with the offset
}

// A Generation is the time from one rebalance to the next.
type Generation struct {
	group    *Group
	kg       *kafka.Generation
	assigned []Assigned

	mu      sync.Mutex
	running int
	idle    chan struct{} // closed when running falls to 0, nil while nobody waits
}

// Assigned lists this member's partitions, by partition number and then in the
// order of GroupConfig.Topics. It may be empty.
func (g *Generation) Assigned() []Assigned { return g.assigned }

// ID is the generation's number.
func (g *Generation) ID() int32 { return g.kg.ID }

// Start runs fn in a goroutine of the generation. ctx ends when a rebalance
// starts, when the membership is lost, when the group is closed or when any of
// the generation's functions returns. The group moves on when all have
// returned, at the latest after RebalanceTimeout; until then commits are still
// accepted, so this is the time to flush what is underway.
func (g *Generation) Start(fn func(ctx context.Context)) {
	g.mu.Lock()
	g.running++
	g.mu.Unlock()
	g.kg.Start(func(genCtx context.Context) {
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.running--; g.running == 0 && g.idle != nil {
				close(g.idle)
				g.idle = nil
			}
		}()
		fn(genCtx)
	})
}

// keep stays alive while the generation does. kafka-go stops its heartbeats
// when a rebalance starts, so a flush longer than the session time-out would
// cost the membership, and its commit would be refused: keep goes on with them
// until the last function has returned.
func (g *Generation) keep(ctx context.Context) {
	<-ctx.Done()
	beat := time.NewTicker(max(g.group.cfg.SessionTimeout/4, 10*time.Millisecond))
	defer beat.Stop()
	for {
		g.mu.Lock()
		if g.running == 0 {
			g.mu.Unlock()
			return
		}
		if g.idle == nil {
			g.idle = make(chan struct{})
		}
		idle := g.idle
		g.mu.Unlock()
		select {
		case <-idle:
		case <-beat.C:
			if err := g.heartbeat(); errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) {
				<-idle // lost: nothing to keep
			}
		}
	}
}

func (g *Generation) heartbeat() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.group.log.cfg.RequestTimeout)
	defer cancel()
	return g.group.log.withCoordinator(ctx, g.kg.GroupID, func(k *link) error {
		res, err := ask[*heartbeat.Response](ctx, k, g.group.log.cfg.RequestTimeout, &heartbeat.Request{
			GroupID: g.kg.GroupID, GenerationID: g.kg.ID, MemberID: g.kg.MemberID,
		})
		if err != nil {
			return err
		}
		if res.ErrorCode != 0 && kafka.Error(res.ErrorCode) != kafka.RebalanceInProgress {
			return kafka.Error(res.ErrorCode)
		}
		return nil
	})
}

// Commit stores an offset, the next to be read, and metadata (at most 4096
// bytes by Kafka's default) for one partition. It retries until ctx ends or
// the group refuses, which is [ErrStaleGeneration].
func (g *Generation) Commit(ctx context.Context, topic string, partition int32, offset int64, metadata string) error {
	return g.CommitAll(ctx, []Assigned{{Topic: topic, Partition: partition, Offset: offset, Metadata: metadata}})
}

// CommitAll is Commit for several partitions in one request. The group takes or
// refuses all of them for the generation's sake; other faults may be of some.
func (g *Generation) CommitAll(ctx context.Context, offsets []Assigned) error {
	req := &offsetcommit.Request{GroupID: g.kg.GroupID, GenerationID: g.kg.ID, MemberID: g.kg.MemberID, RetentionTimeMs: -1}
	for _, o := range offsets {
		i := slices.IndexFunc(req.Topics, func(t offsetcommit.RequestTopic) bool { return t.Name == o.Topic })
		if i < 0 {
			i = len(req.Topics)
			req.Topics = append(req.Topics, offsetcommit.RequestTopic{Name: o.Topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: o.Partition, CommittedOffset: o.Offset, CommittedLeaderEpoch: -1, CommittedMetadata: o.Metadata,
		})
	}
	l := g.group.log
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := l.withCoordinator(ctx, g.kg.GroupID, func(k *link) error {
			res, err := ask[*offsetcommit.Response](ctx, k, l.cfg.RequestTimeout, req)
			if err != nil {
				return err
			}
			return commitFault(res)
		})
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrStaleGeneration) || !retryable(err) || !sleep(ctx, pause) {
			return fmt.Errorf("committing offsets of group %s in generation %d: %w", g.kg.GroupID, g.kg.ID, err)
		}
	}
}

// commitFault looks for refusals: they stand by partition, and the request as
// a whole is answered without an error.
func commitFault(res *offsetcommit.Response) error {
	var fault error
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			switch code := kafka.Error(p.ErrorCode); code {
			case 0:
			case kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.FencedInstanceID:
				return fmt.Errorf("%w: %w", ErrStaleGeneration, code)
			default:
				fault = fmt.Errorf("%s-%d: %w", t.Name, p.PartitionIndex, code)
			}
		}
	}
	return fault
}
