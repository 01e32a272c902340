package main

import (
	"context"
	"fmt"
	"io"
	"os"

	applying "github.com/hypostream/hypostream/pkg/apply"
)

// apply brings a server to what a file says.
func apply(ctx context.Context, args []string, out io.Writer) error {
	f := newFlags("apply", "bring projects, tokens and experiments to what a YAML file says; nothing is changed if anything is wrong", out)
	path := f.String("f", "experiments.yaml", "the file; - reads standard input")
	server := f.String("server", envOr("HYPOSTREAM_SERVER", "http://127.0.0.1:8090"), "base URL of the analyzer that serves the admin API (HYPOSTREAM_SERVER)")
	key := f.String("key", "", "its admin key (default: ADMIN_KEY of the environment)")
	dryRun := f.Bool("dry-run", false, "print the plan and change nothing")
	force := f.Bool("force", false, "allow changes that move users between the variants of an experiment that has started")
	if err := parse(f, args); err != nil {
		return err
	}
	if *key == "" { // not the flag's default, which -h would print
		*key = os.Getenv("ADMIN_KEY")
	}
	name, data, err := readFile(*path)
	if err != nil {
		return err
	}
	file, err := applying.Read(name, data, os.LookupEnv)
	if err != nil {
		return err
	}
	c := applying.Client{Server: *server, Key: *key}
	plan, err := c.Apply(ctx, file, true, *force)
	if err != nil {
		return err
	}
	applying.Write(out, plan)
	if *dryRun {
		return nil
	}
	_, err = c.Apply(ctx, file, false, *force)
	return err
}

func readFile(path string) (name string, data []byte, err error) {
	if path == "-" {
		data, err = io.ReadAll(os.Stdin)
		return "stdin", data, err
	}
	data, err = os.ReadFile(path)
	if err != nil {
		return path, nil, fmt.Errorf("reading the file: %w", err)
	}
	return path, data, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
