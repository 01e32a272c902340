// Package telemetry holds what a service tells about itself: metrics for
// Prometheus, and probes that really probe.
package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The kinds of metrics, under our own names so that the client library has one
// importer.
type (
	CounterVec   = prometheus.CounterVec
	Counter      = prometheus.Counter
	GaugeVec     = prometheus.GaugeVec
	Gauge        = prometheus.Gauge
	HistogramVec = prometheus.HistogramVec
	Observer     = prometheus.Observer
)

// probeTimeout bounds one readiness check, so that a hanging dependency shows
// as not ready and not as a hanging probe.
const probeTimeout = 2 * time.Second

// Telemetry is one service's metrics and probes. A nil *Telemetry works: its
// metrics count and are shown nowhere, as tests want it.
type Telemetry struct {
	registry *prometheus.Registry
	service  string
	draining atomic.Bool

	mu     sync.Mutex
	probes []probe
}

type probe struct {
	name  string
	check func(context.Context) error
	busy  chan struct{} // holds the place of the one check under way
}

// run gives the check's answer, or ctx's end if it hangs: one check at a time,
// so that a check that never returns costs one goroutine and no more.
func (p probe) run(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		return errors.New("the check before has not answered yet")
	}
	answer := make(chan error, 1)
	go func() {
		defer func() { <-p.busy }()
		answer <- p.check(ctx)
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// New makes the telemetry of a service; its metrics are named
// hypostream_<service>_<name>.
func New(service string) *Telemetry {
	t := &Telemetry{registry: prometheus.NewRegistry(), service: service}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t
}

func (t *Telemetry) name() string {
	if t == nil {
		return ""
	}
	return t.service
}

func (t *Telemetry) register(c prometheus.Collector) {
	if t != nil {
		t.registry.MustRegister(c)
	}
}

// Counter makes a family of counters. Labels must have few values.
func (t *Telemetry) Counter(name, help string, labels ...string) *CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hypostream", Subsystem: t.name(), Name: name, Help: help}, labels)
	t.register(c)
	return c
}

// Gauge makes a family of gauges.
func (t *Telemetry) Gauge(name, help string, labels ...string) *GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "hypostream", Subsystem: t.name(), Name: name, Help: help}, labels)
	t.register(g)
	return g
}

// GaugeFunc makes a gauge that is read when it is asked for.
func (t *Telemetry) GaugeFunc(name, help string, read func() float64) {
	t.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "hypostream", Subsystem: t.name(), Name: name, Help: help}, read))
}

// Histogram makes a family of histograms.
func (t *Telemetry) Histogram(name, help string, buckets []float64, labels ...string) *HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "hypostream", Subsystem: t.name(), Name: name, Help: help, Buckets: buckets}, labels)
	t.register(h)
	return h
}

// Latency buckets, in seconds, from a tenth of a millisecond to ten seconds.
func Latency() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// Probe adds a readiness check: nil means ready.
func (t *Telemetry) Probe(name string, check func(context.Context) error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.probes = append(t.probes, probe{name, check, make(chan struct{}, 1)})
}

// Draining makes the service not ready from now on, so that a balancer sends
// no more requests while the last ones finish.
func (t *Telemetry) Draining() {
	if t != nil {
		t.draining.Store(true)
	}
}

// Register adds GET /healthz, /readyz and /metrics.
func (t *Telemetry) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"status":"ok"}` + "\n"))
	})
	mux.HandleFunc("GET /readyz", t.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}))
}

// ready runs every probe at once and tells each one's state.
func (t *Telemetry) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	t.mu.Lock()
	probes := t.probes
	t.mu.Unlock()
	states := make([]string, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() {
			states[i] = "ok"
			if err := p.run(ctx); err != nil {
				states[i] = err.Error()
			}
		})
	}
	wg.Wait()
	answer := struct {
		Ready  bool              `json:"ready"`
		Probes map[string]string `json:"probes"`
	}{Ready: !t.draining.Load(), Probes: map[string]string{}}
	if t.draining.Load() {
		answer.Probes["service"] = "draining"
	}
	for i, p := range probes {
		answer.Probes[p.name] = states[i]
		answer.Ready = answer.Ready && states[i] == "ok"
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(answer)
}
