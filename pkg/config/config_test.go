package config_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/config"
)

type inner struct {
	Brokers []string `env:"BROKERS, default=127.0.0.1:9092" desc:"where the log is"`
	Secret  string   `env:"SECRET" desc:"who may" secret:"true"`
}

func (c inner) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("BROKERS: at least one is needed")
	}
	return nil
}

type outer struct {
	Wait  time.Duration `env:"WAIT, default=1s" desc:"how long"`
	Log   inner         `env:", prefix=LOG_"`
	Limit int           `env:"LIMIT, default=5"`
}

func (c *outer) Validate() error {
	if c.Limit < 1 {
		return errors.New("LIMIT: must be at least 1")
	}
	return nil
}

func TestLoadFillsDefaultsAndNestedStructs(t *testing.T) {
	var c outer
	if err := config.LoadFrom(t.Context(), &c, map[string]string{"LOG_BROKERS": "a:1,b:2", "WAIT": "3s"}); err != nil {
		t.Fatal(err)
	}
	if c.Wait != 3*time.Second || c.Limit != 5 || strings.Join(c.Log.Brokers, " ") != "a:1 b:2" {
		t.Errorf("read %+v", c)
	}
}

func TestLoadNamesTheVariableThatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		vars map[string]string
		want string
	}{
		{"a value that cannot be read", map[string]string{"WAIT": "soon"}, "Wait"},
		{"a value that Validate refuses", map[string]string{"LIMIT": "0"}, "LIMIT: must be at least 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := config.LoadFrom(t.Context(), &outer{}, tt.vars)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestUsageAndPrintKeepSecrets(t *testing.T) {
	var c outer
	if err := config.LoadFrom(t.Context(), &c, map[string]string{"LOG_SECRET": "hunter2"}); err != nil {
		t.Fatal(err)
	}
	var usage, printed bytes.Buffer
	config.Usage(&usage, &c)
	config.Print(&printed, &c)
	for _, want := range []string{"WAIT", "1s", "how long", "LOG_BROKERS", "127.0.0.1:9092", "where the log is"} {
		if !strings.Contains(usage.String(), want) {
			t.Errorf("usage lacks %q:\n%s", want, usage.String())
		}
	}
	if strings.Contains(printed.String(), "hunter2") || !strings.Contains(printed.String(), "LOG_SECRET=(set)") {
		t.Errorf("a secret in print:\n%s", printed.String())
	}
}
