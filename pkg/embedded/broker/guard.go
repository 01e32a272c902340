package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxRequest is Kafka's default for socket.request.max.bytes.
const maxRequest = 100 << 20

// guard stands between the network and kfake, which takes the first four bytes
// of whatever connects as a size to allocate, and panics on a request that it
// does not know: an HTTP request sent to the port would end the process.
func guard(ln net.Listener, advertise string) net.Listener {
	host, port, _ := net.SplitHostPort(ln.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if advertise != "" {
		host = advertise
	}
	return &guardedListener{Listener: ln, addr: advertised(net.JoinHostPort(host, port))}
}

type guardedListener struct {
	net.Listener
	addr advertised
}

// Addr is what kfake tells its clients.
func (l *guardedListener) Addr() net.Addr { return l.addr }

func (l *guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c}, nil
}

type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

var errNotKafka = errors.New("not a request of Kafka's protocol")

// A guardedConn looks at the head of every request: size, api key, version.
type guardedConn struct {
	net.Conn
	head   [8]byte
	unread int // of head
	left   int // of the request after its head
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.unread == 0 && c.left == 0 {
		if _, err := io.ReadFull(c.Conn, c.head[:]); err != nil {
			return 0, err
		}
		size := binary.BigEndian.Uint32(c.head[:])
		if size < 8 || size > maxRequest {
			return 0, errNotKafka
		}
		req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(c.head[4:])))
		if version := int16(binary.BigEndian.Uint16(c.head[6:])); req == nil || version < 0 {
			return 0, errNotKafka
		}
		c.unread, c.left = len(c.head), int(size)-4
	}
	if c.unread > 0 {
		n := copy(p, c.head[len(c.head)-c.unread:])
		c.unread -= n
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
