// Command ingest measures the front door: events a second, latency and CPU with
// everything that a real POST costs, beside the same server with a log that
// does nothing and beside kafka-go's own Writer in the log's place. Broker,
// server and load generator are processes of their own on this machine.
//
//	go run ./bench/ingest
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	role := flag.String("role", "", "internal: what a child process is")
	sink := flag.String("sink", "", "internal: where a server's events go")
	brokers := flag.String("brokers", "", "address of a real broker; empty: the embedded one, in a process of its own")
	span := flag.Duration("for", 5*time.Second, "how long each line is measured")
	rounds := flag.Int("rounds", 3, "rounds over all lines; each figure is the median")
	only := flag.String("only", "", "comma-separated places of lines in the table, from 0: measure only these, and what they are compared with")
	profile := flag.String("profile", "", "directory for the servers' CPU profiles")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *role {
	case "broker":
		err = serveBroker(ctx)
	case "server":
		err = serveIngest(ctx, *sink, *brokers, *profile)
	default:
		err = measure(ctx, *brokers, *span, *rounds, *only, *profile)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// line is one line of the table: a load on a server with a sink.
type line struct {
	name     string
	sink     string
	conns    int
	perPost  int
	paced    int // requests a second, 0 for as many as go
	results  []outcome
	baseline int // the line that ratios are to
}

func lines() []*line {
	return []*line{
		{name: "1 event a POST, 256 connections, log that does nothing", sink: "none", conns: 256, perPost: 1, baseline: 0},
		{name: "… group commit, acks=all", sink: "log", conns: 256, perPost: 1, baseline: 0},
		{name: "… kafka-go Writer, acks=all", sink: "writer", conns: 256, perPost: 1, baseline: 0},
		{name: "1 event a POST, 64 connections, does nothing", sink: "none", conns: 64, perPost: 1, baseline: 3},
		{name: "… group commit", sink: "log", conns: 64, perPost: 1, baseline: 3},
		{name: "… kafka-go Writer", sink: "writer", conns: 64, perPost: 1, baseline: 3},
		{name: "100 events a POST, 32 connections, does nothing", sink: "none", conns: 32, perPost: 100, baseline: 6},
		{name: "… group commit", sink: "log", conns: 32, perPost: 100, baseline: 6},
		{name: "500 events a POST, 16 connections, does nothing", sink: "none", conns: 16, perPost: 500, baseline: 8},
		{name: "… group commit", sink: "log", conns: 16, perPost: 500, baseline: 8},
		{name: "paced at 10,000 POSTs a second, 64 connections, group commit", sink: "log", conns: 64, perPost: 1, paced: 10_000, baseline: 10},
	}
}

func measure(ctx context.Context, brokers string, span time.Duration, rounds int, only, profile string) error {
	var broker *process
	if brokers == "" {
		var err error
		if broker, err = child("-role", "broker"); err != nil {
			return err
		}
		defer broker.stop()
		brokers = broker.addr
	}
	all, err := chosen(lines(), only)
	if err != nil {
		return err
	}
	for round := range rounds {
		for i, l := range all {
			if l == nil {
				continue
			}
			file := ""
			if profile != "" {
				file = filepath.Join(profile, fmt.Sprintf("line-%d.pprof", i))
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, l.name)
			s, err := child("-role", "server", "-sink", l.sink, "-brokers", brokers, "-profile", file)
			if err != nil {
				return err
			}
			o, err := drive(ctx, s, broker, l, span)
			s.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			l.results = append(l.results, o)
		}
	}
	fmt.Printf("ingest, %d cores shared by load, server and broker, %s, median of %d rounds of %s\n\n", runtime.NumCPU(), runtime.Version(), rounds, span)
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "load\tevents/s\tof the first\tserver CPU µs/event\tbroker\tload\tp50 ms\tp99 ms\tserver RSS MB\t")
	for _, l := range all {
		if l == nil {
			continue
		}
		m := median(l.results)
		// Rounds are compared one by one: on a shared machine, what slows one
		// line of a round slows the others as well.
		var ratios []float64
		for i, r := range l.results {
			ratios = append(ratios, r.rate/all[l.baseline].results[i].rate)
		}
		slices.Sort(ratios)
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t\n", l.name, m.rate, ratios[len(ratios)/2], m.cpu, m.broker, m.load, m.p50, m.p99, m.rss)
	}
	return t.Flush()
}

// chosen leaves the lines that were asked for, by their place in the table, and
// those that they are compared with; the others are nil.
func chosen(all []*line, only string) ([]*line, error) {
	if only == "" {
		return all, nil
	}
	out := make([]*line, len(all))
	for s := range strings.SplitSeq(only, ",") {
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 || i >= len(all) {
			return nil, fmt.Errorf("-only: %q is no line between 0 and %d", s, len(all)-1)
		}
		out[i], out[all[i].baseline] = all[i], all[all[i].baseline]
	}
	return out, nil
}

// process is a child and the address that it said it listens on.
type process struct {
	cmd  *exec.Cmd
	addr string
}

func child(args ...string) (*process, error) {
	c := exec.Command(os.Args[0], args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c}
	if _, err := fmt.Fscanln(out, &p.addr); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %v: %w", args, err)
	}
	return p, nil
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}
