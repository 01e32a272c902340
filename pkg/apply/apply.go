// Package apply brings an installation to what a YAML file says: the file is
// read strictly, with the line of everything that is wrong in it, and sent to
// the admin API, which checks all of it before it changes anything.
package apply

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// maxFile bounds a file, in bytes.
const maxFile = 4 << 20

// File is a file that was read: its definition, and where each field stands.
type File struct {
	Name       string
	Definition admin.Definition
	tree       *ast.File
}

// Error says what is wrong in a file, and where.
type Error struct {
	File         string
	Line, Column int    // from 1; 0: of the whole file
	Field        string // such as experiments[1].variants[0].weight
	Detail       string
}

// Error is "file:line:column: field: detail".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Detail)
	return b.String()
}

// Read reads a file; name is for its errors, and env gives the variables that
// secret_env names. A project may be left out of tokens and experiments if the
// file has exactly one. The error joins *Errors, one for each fault.
func Read(name string, data []byte, env func(string) (string, bool)) (f *File, err error) {
	// The YAML library panics on some broken files.
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, &Error{File: name, Detail: fmt.Sprintf("the file cannot be read as YAML (%v)", p)}
		}
	}()
	f = &File{Name: name}
	if len(data) > maxFile {
		return nil, &Error{File: name, Detail: fmt.Sprintf("%d bytes, at most %d are accepted", len(data), maxFile)}
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, f.yamlError(err)
	}
	f.tree = tree
	switch {
	case len(tree.Docs) > 1:
		return nil, &Error{File: name, Detail: "more than one document; put everything into the first"}
	case len(tree.Docs) == 0 || tree.Docs[0].Body == nil:
		return nil, &Error{File: name, Detail: "the file is empty"}
	}
	if err := yaml.NewDecoder(strings.NewReader(string(data)), yaml.Strict()).Decode(&f.Definition); err != nil {
		return nil, f.yamlError(err)
	}
	f.fill()
	return f, errors.Join(append(f.readTimes(), f.check(env)...)...)
}

// readTimes reads the experiments' times again: the YAML library takes many
// forms, some without a zone, and makes what it cannot read the zero time.
func (f *File) readTimes() (faults []error) {
	for i := range f.Definition.Experiments {
		x := &f.Definition.Experiments[i]
		for name, dst := range map[string]*time.Time{"start": &x.Start, "end": &x.End} {
			field := fmt.Sprintf("experiments[%d].%s", i, name)
			n := f.node(field)
			if n == nil || n.Type() == ast.NullType {
				continue
			}
			text := n.String()
			if s, ok := n.(*ast.StringNode); ok {
				text = s.Value
			}
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				faults = append(faults, f.errorAt("", experiment.FieldError{Field: field, Detail: fmt.Sprintf("%q is not a time such as 2026-03-02T08:00:00Z", text)}))
			}
			*dst = t
		}
	}
	return faults
}

// node is what stands at a field, nil if nothing does.
func (f *File) node(field string) ast.Node {
	p, err := yaml.PathString("$." + field)
	if err != nil {
		return nil
	}
	n, err := p.FilterFile(f.tree)
	if err != nil {
		return nil
	}
	return n
}

// fill puts in the project where only one can be meant.
func (f *File) fill() {
	d := &f.Definition
	if len(d.Projects) != 1 {
		return
	}
	for i := range d.Tokens {
		if d.Tokens[i].Project == "" {
			d.Tokens[i].Project = d.Projects[0].Key
		}
	}
	for i := range d.Experiments {
		if d.Experiments[i].Project == "" {
			d.Experiments[i].Project = d.Projects[0].Key
		}
	}
}

func (f *File) check(env func(string) (string, bool)) (faults []error) {
	d := &f.Definition
	for i, p := range d.Projects {
		for _, e := range admin.FieldErrors(p.Validate()) {
			faults = append(faults, f.errorAt(fmt.Sprintf("projects[%d]", i), e))
		}
	}
	for i := range d.Tokens {
		t := &d.Tokens[i]
		secret, ok := env(t.SecretEnv)
		switch {
		case t.SecretEnv == "":
			faults = append(faults, f.errorAt(fmt.Sprintf("tokens[%d]", i), experiment.FieldError{Field: "secret_env", Detail: "required: the name of the environment variable that holds the secret"}))
		case !ok || secret == "":
			faults = append(faults, f.errorAt(fmt.Sprintf("tokens[%d]", i), experiment.FieldError{Field: "secret_env", Detail: fmt.Sprintf("the environment variable %s is not set", t.SecretEnv)}))
		}
		t.Secret = secret
	}
	for i, x := range d.Experiments {
		for _, e := range admin.Check(x) {
			faults = append(faults, f.errorAt(fmt.Sprintf("experiments[%d]", i), e))
		}
	}
	return faults
}

func (f *File) errorAt(prefix string, e experiment.FieldError) *Error {
	field := e.Field
	switch {
	case field == "":
		field = prefix
	case prefix != "":
		field = prefix + "." + field
	}
	line, column := f.Position(field)
	return &Error{f.Name, line, column, field, e.Detail}
}

// Position is where a field such as "experiments[1].variants[0].weight" stands,
// or, if the file does not have it, what it belongs to. Both are 0 for what is
// not in the file at all.
func (f *File) Position(field string) (line, column int) {
	// A secret stands in the file by the name of its variable.
	if head, ok := strings.CutSuffix(field, ".secret"); ok {
		field = head + ".secret_env"
	}
	for field != "" {
		if n := f.node(field); n != nil {
			return start(n)
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0, 0
}

// start is where a node begins: a mapping's own token is the colon of its
// first entry.
func start(n ast.Node) (line, column int) {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return start(m.Values[0])
		}
	case *ast.MappingValueNode:
		return start(m.Key)
	}
	p := n.GetToken().Position
	return p.Line, p.Column
}

// yamlError gives a fault that the YAML library found its place and field.
func (f *File) yamlError(err error) error {
	e := &Error{File: f.Name, Detail: err.Error()}
	var y yaml.Error
	if !errors.As(err, &y) {
		return e
	}
	e.Detail = y.GetMessage()
	if t := y.GetToken(); t != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
		e.Field = f.fieldOf(t)
	}
	return e
}

// fieldOf is the path of the node that a token belongs to.
func (f *File) fieldOf(t *token.Token) string {
	if f.tree == nil {
		return ""
	}
	finder := &finder{line: t.Position.Line, column: t.Position.Column}
	for _, d := range f.tree.Docs {
		ast.Walk(finder, d)
	}
	return strings.TrimPrefix(finder.path, "$.")
}

type finder struct {
	line, column int
	path         string
}

// Visit looks for the node whose token stands where the fault was found.
func (v *finder) Visit(n ast.Node) ast.Visitor {
	if t := n.GetToken(); t != nil && t.Position.Line == v.line && t.Position.Column == v.column {
		v.path = n.GetPath()
	}
	return v
}
