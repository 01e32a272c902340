// Package config reads a service's configuration from its environment, tells
// what can be configured, and prints what is in force without its secrets.
//
// The structs stay with the packages that use them: a field names its variable
// in an env tag (with its default), says what it is for in a desc tag, and is
// kept out of print by secret:"true". A struct with a Validate() error method
// is asked once everything is read.
package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/sethvargo/go-envconfig"
)

// Load fills dst, a pointer to a struct, from the process's environment and
// validates it. The error joins every fault that was found.
func Load(ctx context.Context, dst any) error {
	return load(ctx, dst, envconfig.OsLookuper())
}

// LoadFrom is Load with the variables given by a map.
func LoadFrom(ctx context.Context, dst any, vars map[string]string) error {
	return load(ctx, dst, envconfig.MapLookuper(vars))
}

func load(ctx context.Context, dst any, from envconfig.Lookuper) error {
	if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: dst, Lookuper: from}); err != nil {
		return fmt.Errorf("reading the environment: %w", err)
	}
	return validate(reflect.ValueOf(dst))
}

type validator interface{ Validate() error }

// validate asks the struct, and every struct in it, outermost last: an outer
// Validate may rely on its parts being right.
func validate(v reflect.Value) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	var errs []error
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			errs = append(errs, validate(v.Field(i)))
		}
	}
	if x, ok := v.Interface().(validator); ok {
		errs = append(errs, x.Validate())
	} else if v.CanAddr() {
		if x, ok := v.Addr().Interface().(validator); ok {
			errs = append(errs, x.Validate())
		}
	}
	return errors.Join(errs...)
}

// variable is one line of the table.
type variable struct {
	name, def, desc string
	value           reflect.Value
	secret          bool
}

// walk lists the variables of a struct in the order of its fields.
func walk(v reflect.Value, prefix string, visit func(variable)) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		name = strings.TrimSpace(name)
		if name == "" {
			kind := f.Type
			if kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
			if kind.Kind() == reflect.Struct {
				inner := prefix
				if _, p, ok := strings.Cut(f.Tag.Get("env"), "prefix="); ok {
					inner += strings.TrimSpace(p)
				}
				walk(v.Field(i), inner, visit)
			}
			continue
		}
		x := variable{name: prefix + name, desc: f.Tag.Get("desc"), value: v.Field(i), secret: f.Tag.Get("secret") == "true"}
		if _, d, ok := strings.Cut(options, "default="); ok {
			x.def = strings.TrimSpace(d)
		} else if strings.Contains(options, "required") {
			x.def = "(required)"
		}
		visit(x)
	}
}

// Usage writes a table of every variable that dst reads: name, default, what
// it is for.
func Usage(w io.Writer, dst any) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	walk(reflect.ValueOf(dst), "", func(x variable) {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", x.name, x.def, x.desc)
	})
	t.Flush()
}

// Print writes the values in force, one NAME=value a line; a secret shows
// only whether it is set.
func Print(w io.Writer, dst any) {
	walk(reflect.ValueOf(dst), "", func(x variable) {
		if x.secret {
			set := "(not set)"
			if !x.value.IsZero() {
				set = "(set)"
			}
			fmt.Fprintf(w, "%s=%s\n", x.name, set)
			return
		}
		value := x.value.Interface()
		if x.value.Kind() == reflect.Slice {
			var parts []string
			for i := range x.value.Len() {
				parts = append(parts, fmt.Sprint(x.value.Index(i).Interface()))
			}
			value = strings.Join(parts, ",")
		}
		fmt.Fprintf(w, "%s=%v\n", x.name, value)
	})
}
