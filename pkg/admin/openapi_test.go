package admin

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/experiment"
)

type schema struct {
	Properties map[string]schema `yaml:"properties"`
	Items      *schema           `yaml:"items"`
}

func readAPI(t *testing.T) (paths map[string]map[string]any, schemas map[string]schema) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI    string                    `yaml:"openapi"`
		Paths      map[string]map[string]any `yaml:"paths"`
		Components struct {
			Schemas map[string]schema `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("openapi: %s", doc.OpenAPI)
	}
	return doc.Paths, doc.Components.Schemas
}

func TestDescriptionListsTheRoutesThereAre(t *testing.T) {
	paths, _ := readAPI(t)
	var described, served []string
	for path, methods := range paths {
		for m := range methods {
			if m != "parameters" {
				described = append(described, strings.ToUpper(m)+" "+path)
			}
		}
	}
	for _, rt := range routes {
		served = append(served, rt.method+" "+rt.path)
	}
	slices.Sort(described)
	slices.Sort(served)
	if d := cmp.Diff(served, described); d != "" {
		t.Errorf("routes (-served +described):\n%s", d)
	}
}

func TestDescriptionListsTheFieldsThereAre(t *testing.T) {
	_, schemas := readAPI(t)
	x := schemas["Experiment"].Properties
	for name, tt := range map[string]struct {
		value     any
		described map[string]schema
	}{
		"Experiment": {experiment.Experiment{}, x},
		"Variant":    {experiment.Variant{}, x["variants"].Items.Properties},
		"Targeting":  {experiment.Targeting{}, x["targeting"].Properties},
		"Metric":     {experiment.Metric{}, schemas["Metric"].Properties},
		"Project":    {experiment.Project{}, schemas["Project"].Properties},
		"Token":      {experiment.Token{}, schemas["Token"].Properties},
	} {
		var have, described []string
		typ := reflect.TypeOf(tt.value)
		for i := range typ.NumField() {
			field, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			have = append(have, field)
		}
		for field := range tt.described {
			described = append(described, field)
		}
		slices.Sort(have)
		slices.Sort(described)
		if d := cmp.Diff(have, described); d != "" {
			t.Errorf("%s (-has +described):\n%s", name, d)
		}
	}
}
