package load

import (
	"time"

	"github.com/hypostream/hypostream/pkg/telemetry"
)

type metrics struct {
	stored  *telemetry.CounterVec
	dead    *telemetry.CounterVec
	batches *telemetry.CounterVec
	retries *telemetry.CounterVec
	lost    *telemetry.CounterVec
	insert  *telemetry.HistogramVec
	store   *telemetry.HistogramVec
}

func newMetrics(t *telemetry.Telemetry, l *Loader) *metrics {
	t.GaugeFunc("lag_events", "records of this member's partitions that are not stored yet", func() float64 { return float64(l.lag()) })
	t.GaugeFunc("lag_seconds", "age of the oldest record that was read and is not stored yet", func() float64 { return l.lagTime().Seconds() })
	t.GaugeFunc("stalled_seconds", "time for which records have waited and nothing was stored", func() float64 { return l.stalled().Seconds() })
	return &metrics{
		stored:  t.Counter("rows_stored_total", "events stored, repetitions included", "topic"),
		dead:    t.Counter("dead_letters_total", "records that could not be read", "topic"),
		batches: t.Counter("batches_total", "batches stored and committed", "topic"),
		retries: t.Counter("retries_total", "steps that failed and were repeated", "topic", "step"),
		lost:    t.Counter("lost_offsets_total", "offsets that the log no longer had when they were to be read", "topic"),
		insert:  t.Histogram("insert_seconds", "one insert into the warehouse", telemetry.Latency(), "topic"),
		store:   t.Histogram("store_seconds", "all steps of one batch", telemetry.Latency(), "topic"),
	}
}

func (l *Loader) each(f func(n *lane)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.lanes {
		f(n)
	}
}

// lag is how many records wait, as far as the broker told.
func (l *Loader) lag() int64 {
	var sum int64
	l.each(func(n *lane) {
		for _, p := range n.parts {
			sum += max(0, p.end.Load()-p.done.Load())
		}
	})
	return sum
}

// lagTime is the age of the oldest record that is held and not stored.
func (l *Loader) lagTime() time.Duration {
	var longest time.Duration
	l.each(func(n *lane) { longest = max(longest, n.waiting()) })
	return longest
}

// stalled is how long records have waited in some lane without one batch being
// stored there: neither an old backlog nor an idle lane is a stall.
func (l *Loader) stalled() time.Duration {
	var longest time.Duration
	l.each(func(n *lane) {
		longest = max(longest, min(n.waiting(), time.Since(time.UnixMicro(n.progress.Load()))))
	})
	return longest
}

// waiting is the age of the lane's oldest record that is not stored.
func (n *lane) waiting() time.Duration {
	oldest := n.flying.Load()
	if oldest == 0 {
		oldest = n.building.Load()
	}
	if oldest == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMicro(oldest)))
}
