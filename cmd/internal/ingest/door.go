package ingest

import (
	"net/http"
	"sync/atomic"
)

// door stands closed until there is something behind it. Until then SDKs get a
// 504, on which they try again.
type door struct{ routes atomic.Pointer[http.ServeMux] }

func (d *door) open(routes *http.ServeMux) { d.routes.Store(routes) }

// ServeHTTP passes a request on, or says that it is too early.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if routes := d.routes.Load(); routes != nil {
		routes.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusGatewayTimeout)
	w.Write([]byte(`{"error":{"code":"starting","message":"the log is not reached yet; retry"}}` + "\n"))
}
