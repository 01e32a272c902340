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

type typed struct {
	Wait   time.Duration `env:"WAIT, default=1s"`
	On     bool          `env:"ON"`
	Share  float64       `env:"SHARE"`
	Many   []int         `env:"MANY"`
	Small  int8          `env:"SMALL"`
	Key    int           `env:"KEY" secret:"true"`
	Must   string        `env:"MUST, required"`
	Nested struct {
		Size uint16 `env:"SIZE"`
	} `env:", prefix=INNER_"`
}

// Whoever starts the service sees every fault at once, by the name that they
// have to change.
func TestLoadNamesEveryVariableThatIsWrong(t *testing.T) {
	err := config.LoadFrom(t.Context(), &typed{}, map[string]string{
		"WAIT": "soon", "ON": "perhaps", "SHARE": "half", "MANY": "1,x", "SMALL": "200", "KEY": "hunter2", "INNER_SIZE": "-1",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		`WAIT: "soon" is not a duration such as 500ms, 30s or 5m`,
		`ON: "perhaps" is not true or false`,
		`SHARE: "half" is not a number`,
		`MANY: "1,x" is not a list, separated by commas, each a whole number of 64 bits`,
		`SMALL: "200" is not a whole number of 8 bits`,
		`KEY: its value is not a whole number of 64 bits`,
		`MUST: required, and not set`,
		`INNER_SIZE: "-1" is not a whole number of 16 bits, from 0 on`,
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestLoadJoinsTheFaultsOfAllStructs(t *testing.T) {
	c := struct {
		A outer
		B outer `env:", prefix=B_"`
	}{}
	err := config.LoadFrom(t.Context(), &c, map[string]string{"LIMIT": "0", "B_LIMIT": "-1"})
	if err == nil || strings.Count(err.Error(), "LIMIT: must be at least 1") != 2 {
		t.Errorf("error %v, want the fault of both structs", err)
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
