package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
