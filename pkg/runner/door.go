package runner

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
)

// Door is a handler that stands closed until there is something behind it.
// Until then clients get a 504, on which SDKs try again.
type Door struct{ routes atomic.Pointer[http.ServeMux] }

// NewDoor is a closed door.
func NewDoor() *Door { return new(Door) }

// Open lets requests through to routes.
func (d *Door) Open(routes *http.ServeMux) { d.routes.Store(routes) }

// Ready is a probe: an error until the door is open.
func (d *Door) Ready(context.Context) error {
	if d.routes.Load() == nil {
		return errors.New("still starting")
	}
	return nil
}

// ServeHTTP passes a request on, or says that it is too early.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if routes := d.routes.Load(); routes != nil {
		routes.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusGatewayTimeout)
	w.Write([]byte(`{"error":{"code":"starting","message":"what this stands on is not reached yet; retry"}}` + "\n"))
}
