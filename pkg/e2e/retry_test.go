package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
)

// settings is what ingest serves to SDKs, "" while it knows no token.
func (h *house) settings() string {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.ingest+"/v1/all_series_tests", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// letters counts the dead letters that the log holds.
func (h *house) letters() int64 {
	h.t.Helper()
	log, err := eventlog.Open(h.t.Context(), eventlog.Config{Brokers: strings.Split(h.brokers, ",")})
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	topic := event.NewTopics(h.prefix).DeadLetters
	ends, err := log.EndOffsets(h.t.Context(), topic)
	if err != nil {
		h.t.Fatal(err)
	}
	n := int64(0)
	for _, end := range ends[topic] {
		n += end
	}
	return n
}

// A client that was cut off does not know whether its events are in, and sends
// them again: they count once.
func TestAPostRetriedAfterACutConnectionCountsOnce(t *testing.T) {
	h := newHouse(t)
	h.startAnalyzer()
	h.startIngest()
	h.knowsToken()
	h.startAggregator()
	const n = 200
	for i := range n {
		body := fmt.Sprintf(`{"events": [{"event_type": "goal", "user_id": "u%d", "goal_name": "g", "goal_value": 2, "time": "2026-11-21 00:11:34.%06d"}]}`, i, i)
		// Gone at some moment between the first byte and the answer.
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*20)*time.Microsecond)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.ingest+"/v1/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
		cancel()
		if err := h.post(t.Context(), http.DefaultClient, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int64 { return h.number("SELECT toInt64(count()) AS n FROM kpis") }
	if !h.eventually(60*time.Second, func() bool { return count() == n }) {
		t.Fatalf("%d stored, want %d", count(), n)
	}
	time.Sleep(2 * time.Second) // what was written late would be here by now
	if sum := h.number("SELECT toInt64(sum(value_micro)) AS n FROM kpis"); count() != n || sum != n*2_000_000 {
		t.Errorf("%d stored with a sum of %d, want %d and %d", count(), sum, n, n*2_000_000)
	}
}
