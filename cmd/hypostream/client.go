package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hypostream/hypostream/pkg/report"
)

// waitReady waits for a service's /readyz.
func waitReady(ctx context.Context, addr string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", addr, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// post sends a body as an SDK does: the same again on 408, 504 and a broken
// connection.
func post(ctx context.Context, addr, token string, body []byte) error {
	var last error
	for range 20 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/events", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
			resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusOK:
				return nil
			case http.StatusRequestTimeout, http.StatusGatewayTimeout:
				err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
			default:
				return fmt.Errorf("posting events: status %d: %s", resp.StatusCode, text)
			}
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("posting events: %w", last)
}

// result asks the API for an experiment's result as of now.
func result(ctx context.Context, addr, key, project, experiment string) (*report.Result, error) {
	u := fmt.Sprintf("http://%s/v1/projects/%s/experiments/%s/results?refresh=true", addr, url.PathEscape(project), url.PathEscape(experiment))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for the result of %s: %w", experiment, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("asking for the result of %s: status %d: %s", experiment, resp.StatusCode, text)
	}
	var answer struct {
		Result *report.Result `json:"result"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("reading the result of %s: %w", experiment, err)
	}
	return answer.Result, nil
}
