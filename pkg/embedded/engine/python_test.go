package engine_test

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
)

// python finds an interpreter that has the clients of
// deploy/python-requirements.txt: $HYPOSTREAM_PYTHON, else .venv/bin/python
// upwards from here. Without one the test is skipped, or fails if CI=true.
func python(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("HYPOSTREAM_PYTHON"); path != "" {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, ".venv", "bin", "python")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	const text = "no Python with the clients: run `make venv`, or name one in HYPOSTREAM_PYTHON"
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip("skipped: ", text)
	return ""
}

func TestClickHouseConnectWorksUnmodified(t *testing.T) {
	interpreter := python(t)
	u, err := url.Parse(enginetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(interpreter, filepath.Join("testdata", "client.py"), host, port, strings.Trim(u.Path, "/")).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "ok\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
