package broker_test

import (
	"net"
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
)

func TestAddrIsWhereClientsConnect(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "localhost:0"} {
		b, err := broker.Start(t.Context(), broker.Config{Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(b.Addr())
		if err != nil || port == "0" || host != "127.0.0.1" && host != "::1" {
			t.Errorf("listening on %s, clients are sent to %q", addr, b.Addr())
		}
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		b.Close()
	}
}
