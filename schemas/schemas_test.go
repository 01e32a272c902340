package schemas_test

import (
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"

	"github.com/hypostream/hypostream/schemas"
)

func parse(t *testing.T, text string) avro.Schema {
	t.Helper()
	s, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reads says whether a reader of one schema understands what was written by
// the other: the BACKWARD rule of schema registries.
func reads(reader, writer avro.Schema) error {
	return avro.NewSchemaCompatibility().Compatible(reader, writer)
}

func TestEverySchemaReadsAllItsReleasedVersions(t *testing.T) {
	files, err := fs.Glob(schemas.Released, "released/*.avsc")
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int{}
	for _, path := range files {
		name, version, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(path, "released/"), ".avsc"), ".")
		n, err := strconv.Atoi(version)
		if err != nil {
			t.Fatalf("%s is not named <record>.<n>.avsc", path)
		}
		last[name] = max(last[name], n)
		old, err := schemas.Released.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		current, err := schemas.Avro.ReadFile(name + ".avsc")
		if err != nil {
			t.Fatalf("%s has no schema of today: %v", path, err)
		}
		if err := reads(parse(t, string(current)), parse(t, string(old))); err != nil {
			t.Errorf("%s.avsc cannot read messages of %s: %v", name, path, err)
		}
	}
	current, err := fs.Glob(schemas.Avro, "*.avsc")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range current {
		if last[strings.TrimSuffix(file, ".avsc")] == 0 {
			t.Errorf("%s has no version in released/", file)
		}
	}
}

// The rule that the test above relies on, tried on changes to one of our files.
func TestTheRuleTellsBreakingChangesFromHarmlessOnes(t *testing.T) {
	b, err := schemas.Avro.ReadFile("match.avsc")
	if err != nil {
		t.Fatal(err)
	}
	match := string(b)
	const context = `{"name": "context", "type": "string", "default": ""}`
	tests := []struct {
		name     string
		old, new string // text of the file and what takes its place
		breaks   bool
	}{
		{"a new field with a default", context, context + `, {"name": "device", "type": "string", "default": ""}`, false},
		{"a field dropped", `, ` + context, ``, false},
		{"a wider type", `{"name": "flags", "type": "int"`, `{"name": "flags", "type": "long"`, false},
		{"another type of tag", `["string", "long", "double", "boolean"]`, `["string", "long", "double", "boolean", "null"]`, false},
		{"a new field without a default", context, context + `, {"name": "device", "type": "string"}`, true},
		{"a field renamed", `"name": "user_id"`, `"name": "uid"`, true},
		{"another type", `{"name": "project", "type": "string"}`, `{"name": "project", "type": "long"}`, true},
		{"a shorter id", `"size": 16`, `"size": 8`, true},
		{"a type of tag dropped", `["string", "long", "double", "boolean"]`, `["string", "double", "boolean"]`, false}, // a long is read as a double
		{"the string tag dropped", `["string", "long", "double", "boolean"]`, `["long", "double", "boolean"]`, true},
		{"another name", `"name": "Match"`, `"name": "Visit"`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// "a field dropped" has to take the comma and line break too.
			text := match
			if tt.new == "" {
				text = strings.ReplaceAll(text, ",\n    ", ", ")
			}
			changed := strings.Replace(text, tt.old, tt.new, 1)
			if changed == text {
				t.Fatalf("the file has no %s", tt.old)
			}
			if err := reads(parse(t, changed), parse(t, match)); (err != nil) != tt.breaks {
				t.Errorf("error %v, want one: %v", err, tt.breaks)
			}
		})
	}
}
