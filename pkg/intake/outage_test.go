package intake_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/intake"
)

// While the broker is away every answer is a 504; clients that send the same
// again until they have a 200, as the SDKs do, end with each event in the log,
// under one identity however often it was written.
func TestEventsSurviveAnOutageOfTheBroker(t *testing.T) {
	const clients, each = 8, 40
	dir := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Config{Addr: "127.0.0.1:0", DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	f := openOn(t, intake.Config{}, []string{b.Addr()}, eventlog.ProducerConfig{Deadline: 200 * time.Millisecond, AttemptTimeout: 100 * time.Millisecond})

	var accepted, refused atomic.Int64
	var wg sync.WaitGroup
	half := make(chan struct{}) // closed when half of the events are in
	var once sync.Once
	for c := range clients {
		wg.Go(func() {
			met := false // the outage: nobody ends before it
			for n := 0; n < each || !met; n++ {
				body := fmt.Sprintf(`{"events": [{"event_type": "goal", "user_id": "u%d", "time": "2026-11-21 00:11:34.%06d", "goal_name": "g"}]}`, c, n)
				for {
					code := post(f.url, body)
					if code == http.StatusOK {
						break
					}
					if code != http.StatusGatewayTimeout {
						t.Errorf("status %d, want 200 or 504", code)
						return
					}
					refused.Add(1)
					met = true
					time.Sleep(20 * time.Millisecond)
				}
				if accepted.Add(1) == clients*each/2 {
					once.Do(func() { close(half) })
				}
			}
		})
	}
	select {
	case <-half:
	case <-time.After(30 * time.Second):
		t.Fatal("the first half was not accepted in time")
	}
	addr := b.Addr()
	b.Close()
	for refused.Load() < clients && !t.Failed() {
		time.Sleep(10 * time.Millisecond)
	}
	if b, err = broker.Start(t.Context(), broker.Config{Addr: addr, DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	ids, contents := map[event.ID]string{}, map[string]bool{}
	for _, e := range f.events(t, f.topics.KPIs) {
		content := fmt.Sprint(e.UserID, e.Time)
		if was, ok := ids[e.ID]; ok && was != content {
			t.Errorf("identity %s is of %s and of %s", e.ID, was, content)
		}
		ids[e.ID], contents[content] = content, true
	}
	if want := int(accepted.Load()); len(ids) != want || len(contents) != want {
		t.Errorf("%d identities and %d contents in the log, want %d of each", len(ids), len(contents), want)
	}
}

// post gives the status of the answer, 0 for none.
func post(url, body string) int {
	req, err := http.NewRequest("POST", url+"/v1/events", strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
