package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// A cluster is what is known of the brokers: their addresses, and who leads
// each partition of the topics that were asked for.
//
// It is refreshed when an answer shows that it is out of date, never by the
// clock: a moved leader is found again at the first refusal.
type cluster struct {
	cfg Config
	dialer

	mu         sync.Mutex
	closed     bool
	brokers    map[int32]string
	controller int32
	topics     map[string]layout
	wanted     map[string]struct{}
	refreshing *refresh
	link       *link // of the refresh under way or the last one
}

// A layout is one topic's partitions.
type layout struct {
	code    int16   // the broker's error about the topic
	leaders []int32 // by partition, -1 for none
}

// metadataTimeout bounds each step of a refresh: a silent broker must not keep
// the next one from being asked.
const metadataTimeout = 2 * time.Second

// A refresh is one question for metadata that callers share.
type refresh struct {
	done chan struct{}
	err  error
}

func newCluster(cfg Config) (*cluster, error) {
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	mechanism, err := cfg.mechanism()
	if err != nil {
		return nil, err
	}
	return &cluster{
		cfg:     cfg,
		dialer:  dialer{clientID: cfg.ClientID, timeout: cfg.DialTimeout, tls: tlsConfig, sasl: mechanism},
		brokers: make(map[int32]string),
		topics:  make(map[string]layout),
		wanted:  make(map[string]struct{}),
	}, nil
}

func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link != nil {
		c.link.close()
	}
}

// leader says which broker leads a partition, if that is known.
func (c *cluster) leader(topic string, partition int32) (id int32, addr string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[topic]
	if int(partition) >= len(t.leaders) || t.leaders[partition] < 0 {
		return 0, "", false
	}
	id = t.leaders[partition]
	addr, ok = c.brokers[id]
	return id, addr, ok
}

// partitions returns a topic's partition count, asking the brokers when it is
// not known. It gives one answer, and does not wait for a topic to appear.
func (c *cluster) partitions(ctx context.Context, topic string) (int, error) {
	if n := c.known(topic); n > 0 {
		return n, nil
	}
	if err := c.refresh(ctx, topic); err != nil {
		return 0, err
	}
	return c.count(topic)
}

// count is what the last answer said of a topic's partition count.
func (c *cluster) count(topic string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[topic]
	switch {
	case len(t.leaders) > 0:
		return len(t.leaders), nil
	case t.code == 0, kafka.Error(t.code) == kafka.UnknownTopicOrPartition:
		return 0, fmt.Errorf("%w: %s", ErrUnknownTopic, topic)
	}
	return 0, fmt.Errorf("topic %s: %w", topic, kafka.Error(t.code))
}

func (c *cluster) known(topic string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.topics[topic].leaders)
}

// refresh asks the brokers for their layout anew, along with that of topics.
// Callers at the same time share one question; it goes on when ctx ends.
func (c *cluster) refresh(ctx context.Context, topics ...string) error {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return ErrClosed
		}
		fresh := true
		for _, t := range topics {
			if _, ok := c.wanted[t]; !ok {
				c.wanted[t] = struct{}{}
				fresh = false
			}
		}
		r, joined := c.refreshing, true
		if r == nil {
			r, joined = &refresh{done: make(chan struct{})}, false
			c.refreshing = r
			go c.ask(r)
		}
		c.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		// A question that was under way did not name our new topics.
		if r.err != nil || !joined || fresh {
			return r.err
		}
	}
}

// ask puts one question for metadata to the first broker that answers.
func (c *cluster) ask(r *refresh) {
	c.mu.Lock()
	names := make([]string, 0, len(c.wanted))
	for t := range c.wanted {
		names = append(names, t)
	}
	slices.Sort(names)
	addrs := make([]string, 0, len(c.brokers)+len(c.cfg.Brokers))
	for _, a := range c.brokers {
		addrs = append(addrs, a)
	}
	last := c.link
	c.mu.Unlock()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, a := range c.cfg.Brokers {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}

	res, err := c.askOne(last, names)
	var errs []error
	for i := 0; err != nil && i < len(addrs); i++ {
		var l *link
		if l, err = c.dial(context.Background(), addrs[i], metadataTimeout); err == nil {
			if res, err = c.askOne(l, names); err == nil {
				last = l
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.refreshing = nil
	if err != nil {
		r.err = fmt.Errorf("%w: %w", ErrLogUnavailable, errors.Join(errs...))
	} else {
		c.take(res)
		if c.link = last; c.closed {
			last.close()
		}
	}
	close(r.done)
}

func (c *cluster) askOne(l *link, topics []string) (*metadata.Response, error) {
	if l == nil || l.broken.Load() {
		return nil, ErrClosed
	}
	// An empty list, unlike nil, asks for no topic.
	return ask[*metadata.Response](context.Background(), l, metadataTimeout, &metadata.Request{TopicNames: topics})
}

// take stores an answer. mu is held.
func (c *cluster) take(res *metadata.Response) {
	clear(c.brokers)
	for _, b := range res.Brokers {
		c.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	c.controller = res.ControllerID
	for _, t := range res.Topics {
		lay := layout{code: t.ErrorCode, leaders: make([]int32, len(t.Partitions))}
		for i := range lay.leaders {
			lay.leaders[i] = -1
		}
		for _, p := range t.Partitions {
			if int(p.PartitionIndex) < len(lay.leaders) {
				lay.leaders[p.PartitionIndex] = p.LeaderID
			}
		}
		c.topics[t.Name] = lay
	}
}

// any opens a link to some broker, the controller if it is known and wanted.
func (c *cluster) any(ctx context.Context, controller bool) (*link, error) {
	if err := c.refresh(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	addr, ok := c.brokers[c.controller]
	if !ok || !controller {
		for _, addr = range c.brokers {
			break
		}
	}
	c.mu.Unlock()
	if addr == "" {
		return nil, fmt.Errorf("%w: no broker is known", ErrLogUnavailable)
	}
	return c.dial(ctx, addr, c.cfg.DialTimeout)
}

// coordinator opens a link to a consumer group's coordinator.
func (c *cluster) coordinator(ctx context.Context, group string) (*link, error) {
	l, err := c.any(ctx, false)
	if err != nil {
		return nil, err
	}
	defer l.close()
	res, err := ask[*findcoordinator.Response](ctx, l, c.cfg.RequestTimeout, &findcoordinator.Request{Key: group})
	if err != nil {
		return nil, err
	}
	if res.ErrorCode != 0 {
		return nil, fmt.Errorf("finding the coordinator of group %s: %w", group, kafka.Error(res.ErrorCode))
	}
	return c.dial(ctx, net.JoinHostPort(res.Host, strconv.Itoa(int(res.Port))), c.cfg.DialTimeout)
}
