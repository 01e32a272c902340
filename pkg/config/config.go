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
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

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
		if all := faults(ctx, reflect.ValueOf(dst), from); all != nil {
			return all
		}
		return fmt.Errorf("reading the environment: %w", err)
	}
	return validate(reflect.ValueOf(dst))
}

// faults reads each variable by itself: the library stops at the first that it
// cannot read, and names the field instead of the variable.
func faults(ctx context.Context, v reflect.Value, from envconfig.Lookuper) error {
	var errs []error
	walk(v, "", func(x variable) {
		alone := reflect.New(reflect.StructOf([]reflect.StructField{{Name: x.field.Name, Type: x.field.Type, Tag: x.field.Tag}}))
		err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: alone.Interface(), Lookuper: envconfig.PrefixLookuper(x.prefix, from)})
		switch {
		case err == nil:
		case errors.Is(err, envconfig.ErrMissingRequired):
			errs = append(errs, fmt.Errorf("%s: required, and not set", x.name))
		default:
			text, _ := from.Lookup(x.name)
			found := strconv.Quote(text)
			if x.secret {
				found = "its value"
			}
			errs = append(errs, fmt.Errorf("%s: %s is not %s", x.name, found, accepted(x.field.Type)))
		}
	})
	return errors.Join(errs...)
}

// accepted says what a variable of a type may be.
func accepted(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration such as 500ms, 30s or 5m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number of %d bits, from 0 on", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list, separated by commas, each " + accepted(t.Elem())
	case reflect.Map:
		return "a list of key:value, separated by commas"
	}
	return "a " + t.String()
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
	field           reflect.StructField
	prefix          string // what the structs around put in front of the field's own name
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
		x := variable{name: prefix + name, desc: f.Tag.Get("desc"), value: v.Field(i), secret: f.Tag.Get("secret") == "true", field: f, prefix: prefix}
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
