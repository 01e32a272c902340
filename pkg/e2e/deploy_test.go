package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

// Every panel of the dashboards asks something that the warehouse can answer.
func TestDashboardsAskWhatTheWarehouseHas(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "grafana", "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	db := warehousetest.Open(t)
	panels := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title   string `json:"title"`
				Targets []struct {
					SQL string `json:"rawSql"`
				} `json:"targets"`
			} `json:"panels"`
		}
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				panels++
				if err := db.Exec(t.Context(), target.SQL, nil); err != nil {
					t.Errorf("%s, panel %q: %v", filepath.Base(f), p.Title, err)
				}
			}
		}
	}
	if panels == 0 {
		t.Error("no panel asks anything")
	}
}
