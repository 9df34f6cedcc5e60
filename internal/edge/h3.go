package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/airside-gateway/airside/internal/edge/h3"
)

// A door is where HTTP/3 comes in: a UDP socket beside that of TLS, with the same
// address. It stays open as long as a listener wants it, and until its last connection
// has gone: one that is wanted again before that is used again.
type door struct {
	*h3.Server
	socket  atomic.Pointer[socket] // whose settings are in force; set before it opens
	running *running
	fresh   bool // no change that has it has taken effect
}

// Serve is not for connections of TCP: [door.Start] takes those that there are.
func (*door) Serve(net.Listener) error { return http.ErrServerClosed }

// doorTries is how often a port that is free for TCP and for UDP is looked for.
const doorTries = 20

// openDoor opens UDP beside the TCP address of l, which is open, if l wants it.
func (c *Change) openDoor(l *Listener) error {
	if !l.HTTP3 {
		return nil
	}
	if l.TLS == nil {
		return errors.New("HTTP/3 needs TLS")
	}
	for try := 1; ; try++ {
		k := c.socket(l.Address)
		d, err := c.server.door(k.ln.Addr())
		if err == nil {
			l.door, l.altSvc = d, altSvc(k.ln.Addr())
			return nil
		}
		if _, port, perr := net.SplitHostPort(l.Address); perr != nil || port != "0" || c.fresh[l.Address] == nil || try == doorTries {
			return err
		}
		_ = k.ln.Close() // its port is free for TCP only
		delete(c.fresh, l.Address)
		if k, err = c.server.openSocket(l); err != nil {
			return err
		}
		c.fresh[l.Address] = k
	}
}

// socket is the open socket of an address.
func (c *Change) socket(address string) *socket {
	if k := c.fresh[address]; k != nil {
		return k
	}
	return c.server.sockets[address]
}

// altSvc is what an answer says of HTTP/3 at the port of a (RFC 7838 section 3). A
// client may believe it for a day.
func altSvc(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String()) // a TCP address has a port
	return `h3=":` + port + `"; ma=86400`
}

// advertised returns h, and with it, for a client that does not speak HTTP/3, where it
// could, unless a policy has said something else. What an agent says of itself the
// upstream has removed. It does not change h.
func (e *exchange) advertised(h http.Header) http.Header {
	if e.listener.altSvc == "" || e.major == 3 || e.server.draining.Load() {
		return h
	}
	if _, said := h["Alt-Svc"]; said {
		return h
	}
	out := make(http.Header, len(h)+1)
	maps.Copy(out, h)
	out["Alt-Svc"] = []string{e.listener.altSvc}
	return out
}

// door returns the door at a, opening it if it is not open any more. It takes
// connections from [door.Start] on. It is called with s.mu held.
func (s *Server) door(a net.Addr) (*door, error) {
	if d := s.doors[a.String()]; d != nil && !d.ended() {
		return d, nil
	}
	udp, err := net.ListenPacket("udp", a.String()) //nolint:noctx // binding an address does not wait
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP/3 on UDP %s: %w", a, err)
	}
	d := &door{fresh: true}
	d.Server = h3.New(udp, h3.Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.socket.Load().serveHTTP(w, r) }),
		TLS:     d.encryption, Limits: d.limits, Admit: d.admit, Log: s.Log,
	})
	s.doors[a.String()] = d
	return d, nil
}

func (d *door) ended() bool {
	select {
	case <-d.Done():
		return true
	default:
		return false
	}
}

func (d *door) limits() h3.Limits {
	l := d.socket.Load().live.Load().Limits
	return h3.Limits{
		Headers: l.Headers, Streams: streamsPerConn, Handshake: l.HeaderTimeout,
		Idle: l.Idle, Body: l.BodyTimeout, Write: l.WriteTimeout,
	}
}

// encryption returns what the TLS listener offers at this moment.
func (d *door) encryption() *tls.Config {
	if t := d.socket.Load().live.Load().TLS; t != nil {
		return t.live.Load()
	}
	return nil
}

// admit counts a connection among those of the listener, unless there are too many.
func (d *door) admit() (gone func()) {
	k := d.socket.Load()
	limit := int64(k.live.Load().Limits.Connections)
	if n := k.open.Add(1); limit > 0 && n > limit {
		k.open.Add(-1)
		return nil
	}
	return func() { k.open.Add(-1) }
}

// closeDoors closes what the change has opened, and nobody used.
func (c *Change) closeDoors() {
	for a, d := range c.server.doors {
		if d.fresh {
			_ = d.Close() // it has no connections
			delete(c.server.doors, a)
		}
	}
}

// useDoors opens the doors of the change, and closes all others: who is inside is
// served to the end. It is called with the server's mu held, when the sockets are in
// use.
func (c *Change) useDoors() {
	s := c.server
	wanted := map[*door]bool{}
	for _, l := range c.next {
		if l.door == nil {
			continue
		}
		d, err := s.useDoor(l.door, s.sockets[l.Address])
		if err != nil {
			s.Log.LogAttrs(s.ctx, slog.LevelError, "there is no HTTP/3", slog.String("address", l.Address), slog.Any("err", err))
			continue
		}
		wanted[d] = true
	}
	for a, d := range s.doors {
		if !wanted[d] {
			d.Retire()
		}
		if d.ended() {
			delete(s.doors, a)
			if d.running != nil {
				d.running.replaced.Store(true)
			}
		}
	}
}

// useDoor opens d for the settings of k. A door that has ended since the change was
// prepared is replaced.
func (s *Server) useDoor(d *door, k *socket) (*door, error) {
	d.socket.Store(k)
	err := d.Start()
	if errors.Is(err, h3.ErrEnded) {
		<-d.Done()
		if d, err = s.door(k.ln.Addr()); err != nil {
			return nil, err
		}
		d.socket.Store(k)
		err = d.Start()
	}
	if err != nil {
		return nil, err
	}
	if d.fresh {
		d.fresh = false
		d.running = &running{engine: d}
		s.engines.add(d.running)
	}
	return d, nil
}
