package intake

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/telemetry"
)

// The wires, as metrics name them.
const (
	wireHypoTest = "hypotest"
	wireTrack    = "track"
)

type metrics struct {
	accepted *telemetry.CounterVec
	refused  *telemetry.CounterVec
	duration *telemetry.HistogramVec
	bytes    map[string]telemetry.Counter // by wire

	// kept spares the hot path the label look-ups; projects come from the
	// registry alone, so they are few.
	kept *sync.Map                     // project → *[4]telemetry.Counter, by kind
	fine map[string]telemetry.Observer // by wire: the duration of a 200
}

func newMetrics(t *telemetry.Telemetry) metrics {
	m := metrics{
		accepted: t.Counter("events_accepted_total", "Events that the log has.", "project", "kind"),
		refused:  t.Counter("events_refused_total", "Events named in an answer or kept as dead letters.", "project", "wire", "reason"),
		duration: t.Histogram("request_seconds", "From the first byte to the answer.", telemetry.Latency(), "wire", "status"),
		kept:     new(sync.Map),
	}
	m.fine = map[string]telemetry.Observer{
		wireHypoTest: m.duration.WithLabelValues(wireHypoTest, "200"),
		wireTrack:    m.duration.WithLabelValues(wireTrack, "200"),
	}
	bytes := t.Counter("body_bytes_total", "Bytes of bodies read, decompressed.", "wire")
	m.bytes = map[string]telemetry.Counter{wireHypoTest: bytes.WithLabelValues(wireHypoTest), wireTrack: bytes.WithLabelValues(wireTrack)}
	return m
}

func (m *metrics) count(project string, events []event.Event) {
	v, ok := m.kept.Load(project)
	if !ok {
		var c [4]telemetry.Counter
		for _, k := range []event.Kind{event.Exposure, event.KPI, event.Match} {
			c[k] = m.accepted.WithLabelValues(project, k.String())
		}
		v, _ = m.kept.LoadOrStore(project, &c)
	}
	var n [4]int
	for i := range events {
		n[events[i].Kind]++
	}
	for k, c := range v.(*[4]telemetry.Counter) {
		if n[k] > 0 {
			c.Add(float64(n[k]))
		}
	}
}

func (m *metrics) refuse(project, wireName string, r event.Reason) {
	m.refused.WithLabelValues(project, wireName, string(r)).Inc()
}

func (m *metrics) observe(wireName string, status int, d time.Duration) {
	if status == http.StatusOK {
		m.fine[wireName].Observe(d.Seconds())
		return
	}
	m.duration.WithLabelValues(wireName, strconv.Itoa(status)).Observe(d.Seconds())
}
