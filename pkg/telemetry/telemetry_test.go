package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hypostream/hypostream/pkg/telemetry"
)

func get(mux http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

func TestReadinessFollowsTheProbesAndTheDrain(t *testing.T) {
	tel := telemetry.New("test")
	var broken error = errors.New("no broker answers")
	tel.Probe("log", func(context.Context) error { return broken })
	mux := http.NewServeMux()
	tel.Register(mux)

	if code, body := get(mux, "/readyz"); code != 503 || !strings.Contains(body, "no broker answers") {
		t.Errorf("with a broken probe: %d %s", code, body)
	}
	broken = nil
	if code, body := get(mux, "/readyz"); code != 200 {
		t.Errorf("with a good probe: %d %s", code, body)
	}
	tel.Draining()
	if code, _ := get(mux, "/readyz"); code != 503 {
		t.Errorf("while draining: %d", code)
	}
	if code, _ := get(mux, "/healthz"); code != 200 {
		t.Errorf("draining is not unhealthy: %d", code)
	}
}

// A probe that hangs, deaf to its context, shows as not ready by its name; it
// neither hangs the answer nor hides the other probes.
func TestAHangingProbeIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := telemetry.New("test")
		release := make(chan struct{})
		var calls atomic.Int32
		tel.Probe("store", func(context.Context) error { calls.Add(1); <-release; return nil })
		tel.Probe("log", func(context.Context) error { return nil })
		mux := http.NewServeMux()
		tel.Register(mux)
		for range 3 {
			code, body := get(mux, "/readyz")
			var answer struct {
				Ready  bool
				Probes map[string]string
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatal(err)
			}
			if code != 503 || answer.Ready || answer.Probes["log"] != "ok" || answer.Probes["store"] == "ok" || answer.Probes["store"] == "" {
				t.Errorf("%d %s", code, body)
			}
		}
		if calls.Load() != 1 {
			t.Errorf("%d checks hang, want 1", calls.Load())
		}
		close(release)
		synctest.Wait()
		if code, body := get(mux, "/readyz"); code != 200 {
			t.Errorf("once it answers: %d %s", code, body)
		}
	})
}

func TestMetricsCarryTheServicesName(t *testing.T) {
	tel := telemetry.New("test")
	tel.Counter("things_total", "Things.", "kind").WithLabelValues("a").Add(3)
	mux := http.NewServeMux()
	tel.Register(mux)
	if _, body := get(mux, "/metrics"); !strings.Contains(body, `hypostream_test_things_total{kind="a"} 3`) {
		t.Errorf("metrics lack the counter:\n%.500s", body)
	}
}

func TestNilTelemetryCounts(t *testing.T) {
	var tel *telemetry.Telemetry
	tel.Counter("x_total", "X.").WithLabelValues().Inc()
	tel.Draining()
	tel.Probe("x", nil)
}
