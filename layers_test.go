package hypostream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "github.com/hypostream/hypostream"
	module = root + "/"
)

// layer is one row of the tree: a package, and which of the rows above it the
// package may import. The order is the data's way through the house.
type layer struct {
	path string
	may  []string
}

var layers = []layer{
	// shared ground: no I/O
	{"pkg/event", nil},
	{"pkg/experiment", []string{"pkg/event"}},
	{"pkg/config", nil},
	{"pkg/telemetry", nil},
	{"pkg/runner", []string{"pkg/config", "pkg/telemetry"}},

	// wire to log
	{"pkg/wire", []string{"pkg/event"}},
	{"pkg/wire/hypotest", []string{"pkg/event", "pkg/experiment", "pkg/wire"}},
	{"pkg/wire/batch", []string{"pkg/event", "pkg/wire"}},
	{"schemas", nil},
	{"pkg/codec", []string{"pkg/event", "pkg/experiment", "schemas"}},
	{"pkg/eventlog", nil},
	{"pkg/eventlog/logtest", []string{"pkg/eventlog"}},
	{"pkg/deadletter", []string{"pkg/event", "pkg/codec", "pkg/eventlog"}},
	{"pkg/registry", []string{"pkg/experiment", "pkg/codec", "pkg/eventlog"}},
	{"pkg/assign", []string{"pkg/event", "pkg/experiment"}},
	{"pkg/intake", []string{"pkg/event", "pkg/experiment", "pkg/wire", "pkg/wire/hypotest", "pkg/wire/batch", "pkg/codec", "pkg/eventlog", "pkg/deadletter", "pkg/registry", "pkg/assign", "pkg/telemetry"}},

	// log to warehouse
	{"pkg/stitch", []string{"pkg/event"}},
	{"pkg/warehouse", []string{"pkg/event", "schemas", "pkg/stitch"}},
	{"pkg/load", []string{"pkg/event", "pkg/codec", "pkg/eventlog", "pkg/deadletter", "pkg/stitch", "pkg/warehouse", "pkg/telemetry"}},

	// warehouse to report
	{"pkg/query", []string{"pkg/event", "pkg/experiment", "pkg/warehouse"}},
	{"pkg/stats", nil},
	{"pkg/report", []string{"pkg/experiment", "pkg/stats"}},
	{"pkg/analyze", []string{"pkg/event", "pkg/experiment", "pkg/warehouse", "pkg/query", "pkg/stats", "pkg/report", "pkg/telemetry"}},
	{"pkg/admin", []string{"pkg/event", "pkg/experiment", "pkg/registry", "pkg/assign"}},
	{"pkg/apply", []string{"pkg/experiment", "pkg/assign", "pkg/admin"}},
	{"pkg/web", []string{"pkg/experiment", "pkg/registry", "pkg/analyze", "pkg/report", "pkg/telemetry"}},

	// in one process, and proof
	{"pkg/embedded/broker", nil},
	{"pkg/embedded/broker/brokertest", []string{"pkg/embedded/broker"}},
	{"pkg/embedded/engine", nil},
	{"pkg/embedded/engine/enginetest", []string{"pkg/embedded/engine"}},
	{"pkg/warehouse/warehousetest", []string{"pkg/warehouse", "pkg/embedded/engine/enginetest"}},
	{"pkg/eventgen", []string{"pkg/event", "pkg/experiment", "pkg/assign"}},
}

// owners are the clients that each have one package to speak for them, so that
// a change of client is a change of one package.
var owners = map[string]string{
	"github.com/segmentio/kafka-go":          "pkg/eventlog",
	"github.com/hamba/avro/v2":               "pkg/codec",
	"github.com/ClickHouse/clickhouse-go/v2": "pkg/warehouse",
	"github.com/sethvargo/go-envconfig":      "pkg/config",
	"github.com/prometheus/client_golang":    "pkg/telemetry",
	"gonum.org/v1/gonum":                     "pkg/stats",
	"github.com/twmb/franz-go":               "pkg/embedded/broker",
	"github.com/ebitengine/purego":           "pkg/embedded/engine",
	"github.com/goccy/go-yaml":               "pkg/apply",
}

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("decoding the list of packages: %v", err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

func TestImportsFollowTheData(t *testing.T) {
	row := map[string]int{}
	for i, l := range layers {
		row[l.path] = i
		for _, m := range l.may {
			if j, ok := row[m]; !ok || j >= i {
				t.Errorf("layers: %s may import %s, which is not above it", l.path, m)
			}
		}
	}
	for _, p := range list(t) {
		outside := strings.HasPrefix(p.ImportPath, "cmd/") || strings.HasPrefix(p.ImportPath, "bench") || p.ImportPath == "pkg/e2e" || p.ImportPath == root
		i, known := row[p.ImportPath]
		if !known && !outside {
			if !strings.HasPrefix(p.ImportPath, "pkg/stats/") {
				t.Errorf("%s stands in no layer: give it its place in the table", p.ImportPath)
			}
			continue
		}
		for _, imp := range p.Imports {
			for client, owner := range owners {
				if (imp == client || strings.HasPrefix(imp, client+"/")) && p.ImportPath != owner &&
					!strings.HasPrefix(p.ImportPath, owner+"/") && !strings.HasPrefix(p.ImportPath, "bench") {
					t.Errorf("%s imports %s, which only %s may", p.ImportPath, imp, owner)
				}
			}
			ours, ok := strings.CutPrefix(imp, module)
			if !ok || outside {
				continue
			}
			if !slices.Contains(layers[i].may, ours) {
				t.Errorf("%s imports %s, which its layer does not allow", p.ImportPath, ours)
			}
		}
	}
}
