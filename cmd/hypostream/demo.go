package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/cmd/internal/aggregator"
	"github.com/hypostream/hypostream/cmd/internal/analyzer"
	"github.com/hypostream/hypostream/cmd/internal/ingest"
	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventgen"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
	"github.com/hypostream/hypostream/pkg/report"
)

// What the demo calls things.
const (
	demoProject = "demo"
	demoToken   = "demo-token"
)

// story is what a demo's data folder was filled with: the same story again
// gives the same truth, so a second start need not play it.
type story struct {
	Seed     uint64    `json:"seed"`
	Visitors int       `json:"visitors"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
}

// demo plays a population whose truth is known against its own front door,
// prints what the analyzer makes of it beside the truth, and goes on serving.
func demo(ctx context.Context, args []string, out io.Writer) error {
	f := newFlags("demo", "plays a population with a known truth, prints each experiment's verdict beside it, and goes on serving", out)
	var p place
	p.flags(f)
	once := f.Bool("once", false, "end after the report; the exit code is 1 if a verdict contradicts the truth")
	s := story{}
	f.IntVar(&s.Visitors, "visitors", 40_000, "how many visitors land")
	f.Uint64Var(&s.Seed, "seed", 4, "of everything random: the same seed, the same population")
	if err := parse(f, args); err != nil {
		return err
	}
	if s.Visitors < 1000 {
		return fmt.Errorf("%w: -visitors %d: fewer than 1000 show nothing", errUsage, s.Visitors)
	}
	began := time.Now()
	fmt.Fprintln(out, "starting a broker, a ClickHouse engine, ingest, aggregator and analyzer in this process …")
	h, err := open(ctx, p, func(_ *ingest.Config, ag *aggregator.Config, an *analyzer.Config) {
		an.Registry.Bootstrap = demoProject + ":" + demoToken
		ag.Load.BatchAge = 200 * time.Millisecond
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "up after %.1f s\n", time.Since(began).Seconds())
	if h.temp != "" {
		p.data = h.temp
	}
	verdict := play(h.ctx, h, filepath.Join(p.data, "demo.json"), s, out)
	switch {
	case ctx.Err() != nil:
		return h.close()
	case verdict != nil || *once:
		return errors.Join(verdict, h.close())
	}
	fmt.Fprintf(out, "\nall of this took %.1f s. It goes on serving until Ctrl-C:\n", time.Since(began).Seconds())
	h.addresses(out)
	fmt.Fprintf(out, "  the SDK's token is %q, of project %q\n", demoToken, demoProject)
	<-h.ctx.Done()
	return h.close()
}

// play fills an empty house with the story, or takes up the one it finds, and
// holds the results against the truth.
func play(ctx context.Context, h *house, file string, s story, out io.Writer) error {
	played := false
	switch b, err := os.ReadFile(file); {
	case err == nil:
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		played = true
		fmt.Fprintf(out, "%s holds the population of %s; it is not played again\n", filepath.Dir(file), s.End.Format(time.DateTime))
	case errors.Is(err, fs.ErrNotExist):
		s.End = time.Now().UTC().Truncate(time.Second)
		s.Start = s.End.Add(-14 * 24 * time.Hour)
	default:
		return fmt.Errorf("reading %s: %w", file, err)
	}
	log, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{h.broker.Addr()}, FetchWait: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	defer log.Close()
	topics := event.NewTopics("")
	experiments, err := define(ctx, log, topics, s)
	if err != nil {
		return err
	}
	pop, err := eventgen.New(eventgen.Config{Seed: s.Seed, Visitors: s.Visitors, Start: s.Start, End: s.End}, experiments)
	if err != nil {
		return err
	}
	if !played {
		if err := send(ctx, h, pop, s, out); err != nil {
			return err
		}
		if err := caughtUp(ctx, log, topics, out); err != nil {
			return err
		}
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return fmt.Errorf("noting the story: %w", err)
		}
	}
	var wrong []error
	for _, x := range experiments {
		r, err := result(ctx, h.api, "", demoProject, x.Key)
		if err != nil {
			return err
		}
		fmt.Fprintln(out)
		if err := report.Table(out, r); err != nil {
			return err
		}
		faults := contradictions(r, pop)
		for _, line := range truths(x, pop) {
			fmt.Fprintf(out, "  truth: %s\n", line)
		}
		if len(faults) == 0 {
			fmt.Fprintln(out, "  every count and sum equals the truth, and the verdict is right")
		}
		for _, e := range faults {
			fmt.Fprintf(out, "  CONTRADICTION: %v\n", e)
		}
		wrong = append(wrong, faults...)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d verdicts contradict the truth", len(wrong))
	}
	return nil
}

// define creates the experiments that are not there yet.
func define(ctx context.Context, log *eventlog.Log, topics event.Topics, s story) ([]*experiment.Experiment, error) {
	c, err := codec.New(ctx, codec.Config{}, topics)
	if err != nil {
		return nil, err
	}
	reg, err := registry.Open(registry.Config{}, log, c, topics.Registry, slog.Default())
	if err != nil {
		return nil, err
	}
	defer reg.Close()
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return reg.Run(ctx) })
	defer func() { cancel(); g.Wait() }()
	if err := reg.WaitReady(ctx); err != nil {
		return nil, err
	}
	var out []*experiment.Experiment
	for _, x := range eventgen.Experiments(demoProject, s.Start) {
		have := reg.Snapshot().Experiment(demoProject, x.Key)
		if have == nil {
			if have, err = reg.PutExperiment(ctx, x, "demo"); err != nil {
				return nil, fmt.Errorf("creating %s: %w", x.Key, err)
			}
		}
		out = append(out, have)
	}
	return out, nil
}

// Requests of the population: how many events each has, how many are under way
// at once, how far events are out of order, and every how manieth request is
// sent twice, as after a lost answer.
const (
	perRequest  = 25
	atOnce      = 16
	reach       = 2000
	repeatEvery = 50
)

// send posts the population as SDKs would, out of order and with retries.
func send(ctx context.Context, h *house, pop *eventgen.Population, s story, out io.Writer) error {
	events := eventgen.Disorder(pop.Events, s.Seed, reach)
	fmt.Fprintf(out, "playing %d visitors: %d events of 14 days, out of order, some requests sent twice\n", s.Visitors, len(events))
	began, shown := time.Now(), time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	sent, n := 0, 0
	for batch := range slices.Chunk(events, perRequest) {
		times := 1
		if n%repeatEvery == 0 {
			times = 2
		}
		n++
		g.Go(func() error {
			body := eventgen.AppendRequest(nil, batch)
			for range times {
				if err := post(ctx, h.ingest, demoToken, body); err != nil {
					return err
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			break
		}
		sent += len(batch)
		if time.Since(shown) >= time.Second {
			shown = time.Now()
			fmt.Fprintf(out, "  %d of %d events (%d %%), %.0f/s\n", sent, len(events), 100*sent/len(events), float64(sent)/time.Since(began).Seconds())
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(out, "  all accepted after %.1f s (%.0f events/s, acknowledged by the log)\n", time.Since(began).Seconds(), float64(len(events))/time.Since(began).Seconds())
	return nil
}

// caughtUp waits until the aggregator has committed all that the log holds.
func caughtUp(ctx context.Context, log *eventlog.Log, topics event.Topics, out io.Writer) error {
	began, shown := time.Now(), time.Now()
	ends, err := log.EndOffsets(ctx, topics.Events()...)
	if err != nil {
		return fmt.Errorf("asking for the ends of the log: %w", err)
	}
	for {
		done, err := log.Committed(ctx, aggregatorGroup, topics.Events()...)
		if err != nil {
			return fmt.Errorf("asking how far the aggregator is: %w", err)
		}
		lag := int64(0)
		for topic, parts := range ends {
			for p, end := range parts {
				c, ok := done[topic][p]
				switch {
				case !ok || c.Offset < 0:
					lag += end
				case c.Metadata != "": // a range is being stored
					lag += max(end-c.Offset, 1)
				default:
					lag += max(end-c.Offset, 0)
				}
			}
		}
		if lag == 0 {
			fmt.Fprintf(out, "  all stored %.1f s later\n", time.Since(began).Seconds())
			return nil
		}
		if time.Since(shown) >= time.Second {
			shown = time.Now()
			fmt.Fprintf(out, "  %d events are still to be stored\n", lag)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// aggregatorGroup is the aggregator's default consumer group.
const aggregatorGroup = "hypostream-aggregator"
