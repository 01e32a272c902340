package analyze

import (
	"context"
	"fmt"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
)

// flight is one computation under way, and how many wait for it. It belongs to
// no caller: it goes on when one leaves, and ends when the last one does.
type flight struct {
	waiting int // under Analyzer.mu
	cancel  context.CancelFunc
	done    chan struct{}
	result  *report.Result // once done
	err     error
}

// question is what makes two callers want the same: not the key alone, or a
// changed definition would be answered by the one before.
type question struct {
	project, key, zone string
	version            int64
}

// Refresh brings an experiment's result up to date: it keeps the last one when
// nothing that touches the experiment was stored since, and computes it anew
// otherwise. Callers at the same time share one computation, which ends with
// the last of them.
func (a *Analyzer) Refresh(ctx context.Context, x *experiment.Experiment, p experiment.Project) (*report.Result, error) {
	if x.Start.IsZero() {
		return nil, fmt.Errorf("experiment %s/%s: %w", x.Project, x.Key, ErrNotStarted)
	}
	q := question{x.Project, x.Key, p.Timezone, x.Version}
	a.mu.Lock()
	f := a.flights[q]
	if f == nil {
		f = a.start(ctx, q, x, p)
	}
	f.waiting++
	a.mu.Unlock()
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		a.land(q, f) // who comes now must not wait for what was given up
	}
	return nil, ctx.Err()
}

// start begins a computation; a.mu is held.
func (a *Analyzer) start(ctx context.Context, q question, x *experiment.Experiment, p experiment.Project) *flight {
	f := &flight{done: make(chan struct{})}
	ctx, f.cancel = context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Timeout)
	a.flights[q], a.running[f] = f, true
	go func() {
		defer f.cancel()
		f.result, f.err = a.refresh(ctx, x, p)
		a.mu.Lock()
		a.land(q, f)
		delete(a.running, f)
		a.mu.Unlock()
		close(f.done)
	}()
	return f
}

// wait returns once no computation is under way.
func (a *Analyzer) wait() {
	for {
		a.mu.Lock()
		var f *flight
		for f = range a.running {
			break
		}
		a.mu.Unlock()
		if f == nil {
			return
		}
		<-f.done
	}
}

// land takes a computation off the list; a.mu is held.
func (a *Analyzer) land(q question, f *flight) {
	if a.flights[q] == f {
		delete(a.flights, q)
	}
}
