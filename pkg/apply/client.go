package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// Client speaks to the admin API of one server.
type Client struct {
	Server string // base URL
	Key    string // ADMIN_KEY of the server; "" for one that is open
}

const (
	timeout   = 60 * time.Second
	maxAnswer = 8 << 20
)

// Apply sends a file. With dryRun nothing is changed; force allows changes that
// move users between variants. The error joins *Errors if the server found
// faults in the file.
func (c Client) Apply(ctx context.Context, f *File, dryRun, force bool) (admin.Plan, error) {
	var plan admin.Plan
	body, err := json.Marshal(f.Definition)
	if err != nil {
		return plan, fmt.Errorf("encoding the definition: %w", err)
	}
	base, err := url.Parse(c.Server)
	if err != nil || base.Host == "" {
		return plan, fmt.Errorf("server %q is not a URL such as http://127.0.0.1:8090", c.Server)
	}
	u := base.JoinPath("/v1/admin/apply")
	u.RawQuery = url.Values{"dry_run": {strconv.FormatBool(dryRun)}, "force": {strconv.FormatBool(force)}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return plan, fmt.Errorf("asking the server: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Author", "apply")
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return plan, fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return plan, fmt.Errorf("reading the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return plan, f.refusal(resp.Status, text)
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		return plan, fmt.Errorf("reading the server's answer: %w", err)
	}
	return plan, nil
}

// refusal puts the server's complaints where they belong in the file.
func (f *File) refusal(status string, text []byte) error {
	var answer struct {
		Error struct {
			Code, Message string
			Fields        []experiment.FieldError
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error.Code == "" {
		return fmt.Errorf("the server answered %s: %.200s", status, text)
	}
	if len(answer.Error.Fields) == 0 {
		return fmt.Errorf("the server answered %s: %s", status, answer.Error.Message)
	}
	var faults []error
	for _, e := range answer.Error.Fields {
		faults = append(faults, f.errorAt("", e))
	}
	return errors.Join(faults...)
}

// Write prints a plan, a line for each change.
func Write(w io.Writer, plan admin.Plan) {
	counts := map[string]int{}
	for _, c := range plan.Changes {
		counts[c.Action]++
		if c.Action == "unchanged" {
			continue
		}
		name := c.Key
		if c.Kind != "project" {
			name = c.Project + "/" + c.Key
		}
		fmt.Fprintf(w, "%s %s %s", c.Action, c.Kind, name)
		if len(c.Fields) > 0 {
			fmt.Fprintf(w, " (%s)", strings.Join(c.Fields, ", "))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d to create, %d to update, %d unchanged\n", counts["create"], counts["update"], counts["unchanged"])
}
