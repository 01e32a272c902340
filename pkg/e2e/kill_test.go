package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventgen"
)

// sent is what the load generator had accepted, by arithmetic of its own.
type sent struct {
	exposures, kpis, matches int64
	sum                      int64 // of KPI values, millionths
}

// load posts events from several connections until ctx ends: worker w's n-th
// event is a function of (w, n) alone, so the expected counts need no list.
// Every 50th request is sent twice, as after a lost answer.
func (h *house) load(ctx context.Context, workers int, pause time.Duration) (sent, error) {
	var s struct{ exposures, kpis, matches, sum atomic.Int64 }
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	base := time.Now().Add(-time.Hour).UnixMicro()
	for w := range workers {
		wg.Go(func() {
			client := &http.Client{Timeout: 5 * time.Second}
			for n := 0; ctx.Err() == nil; n++ {
				batch := workload(w, n, base)
				body := eventgen.AppendRequest(nil, batch)
				// Not ctx: what is under way when the time is up is still sent.
				times := 1
				if n%50 == 0 {
					times = 2
				}
				for range times {
					if err := h.post(context.WithoutCancel(ctx), client, body); err != nil {
						errs <- fmt.Errorf("worker %d, request %d: %w", w, n, err)
						return
					}
				}
				for _, e := range batch {
					switch e.Kind {
					case event.Exposure:
						s.exposures.Add(1)
					case event.KPI:
						s.kpis.Add(1)
						s.sum.Add(e.ValueMicro)
					case event.Match:
						s.matches.Add(1)
					}
				}
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
	close(errs)
	return sent{s.exposures.Load(), s.kpis.Load(), s.matches.Load(), s.sum.Load()}, <-errs
}

// loadUntilStopped starts the load; the function it returns ends it and tells
// what was accepted.
func (h *house) loadUntilStopped() (stop func() sent) {
	ctx, cancel := context.WithCancel(h.t.Context())
	type outcome struct {
		sent sent
		err  error
	}
	loaded := make(chan outcome, 1)
	go func() { s, err := h.load(ctx, 4, 2*time.Millisecond); loaded <- outcome{s, err} }()
	return func() sent {
		h.t.Helper()
		cancel()
		o := <-loaded
		if o.err != nil {
			h.t.Fatal(o.err)
		}
		return o.sent
	}
}

// workload is one request: an exposure, a KPI and, for every third, a match.
func workload(w, n int, base int64) []event.Event {
	visitor, user := fmt.Sprintf("v%d-%d", w, n), fmt.Sprintf("u%d-%d", w, n)
	at := base + int64(n)*1000 + int64(w)
	batch := []event.Event{
		{Kind: event.Exposure, VisitorID: visitor, Time: at, Experiment: "kill", Variant: "control"},
		{Kind: event.KPI, VisitorID: visitor, Time: at + 1, Name: "buy", ValueMicro: int64(n%1000+1) * 10_000},
	}
	if n%3 == 0 {
		batch = append(batch, event.Event{Kind: event.Match, VisitorID: visitor, UserID: user, Time: at + 2, Context: "signup"})
	}
	return batch
}

// verify waits until the aggregator has caught up, and compares every count.
func (h *house) verify(want sent, within time.Duration) {
	h.t.Helper()
	got := func() sent {
		return sent{
			exposures: h.number("SELECT toInt64(count()) AS n FROM exposures"),
			kpis:      h.number("SELECT toInt64(count()) AS n FROM kpis"),
			matches:   h.number("SELECT toInt64(uniqExact(event_id)) AS n FROM matches_raw"),
			sum:       h.number("SELECT toInt64(sum(value_micro)) AS n FROM kpis"),
		}
	}
	last := sent{}
	if !h.eventually(within, func() bool { last = got(); return last == want }) {
		h.t.Fatalf("stored %+v, accepted %+v", last, want)
	}
	// and it stays so
	time.Sleep(2 * time.Second)
	if last = got(); last != want {
		h.t.Fatalf("a moment later: stored %+v, accepted %+v", last, want)
	}
	// the ledger covers each partition from its first offset on without a gap
	if n := h.number(`SELECT toInt64(countIf(gap)) AS n FROM (
		SELECT from_offset != lagInFrame(to_offset, 1, toInt64(0)) OVER (PARTITION BY topic, topic_partition ORDER BY from_offset ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS gap
		FROM batches FINAL)`); n != 0 {
		h.t.Errorf("the ledger has %d gaps or overlaps", n)
	}
}

func TestAggregatorKilledUnderLoadCountsExactly(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)
	rnd := rand.New(rand.NewPCG(seed, 0))
	h := newHouse(t)
	h.startAnalyzer() // its migrations make the tables that are asked below
	h.startIngest()
	h.knowsToken()

	stop := h.loadUntilStopped()
	for range kills {
		p := h.startAggregator()
		time.Sleep(time.Duration(100+rnd.IntN(2500)) * time.Millisecond)
		select {
		case <-p.done:
			t.Fatalf("the aggregator ended by itself:\n%s", p.out.String())
		default:
		}
		p.kill()
	}
	accepted := stop()
	h.startAggregator()
	h.verify(accepted, 2*time.Minute)
	t.Logf("%+v", accepted)
}

func TestTwoAggregatorsShareAndSurviveEachOther(t *testing.T) {
	h := newHouse(t)
	h.startAnalyzer() // its migrations make the tables that are asked below
	h.startIngest()
	h.knowsToken()
	stop := h.loadUntilStopped()

	a := h.startAggregator()
	b := h.startAggregator()
	shared := func() int64 {
		return h.number("SELECT toInt64(uniqExact(member)) AS n FROM batches")
	}
	if !h.eventually(60*time.Second, func() bool { return shared() >= 2 }) {
		t.Errorf("after a minute only %d member worked", shared())
	}
	a.kill() // dies without a word
	time.Sleep(2 * time.Second)
	c := h.startAggregator()
	time.Sleep(8 * time.Second)
	if code := b.stop(t); code != 0 { // leaves in order
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	time.Sleep(2 * time.Second)
	accepted := stop()
	h.verify(accepted, 2*time.Minute)
	if code := c.stop(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}
