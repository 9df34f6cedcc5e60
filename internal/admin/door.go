package admin

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// A door lets connections in, in the way that is configured now. When there are as many
// as may be, the one goes that has been there longest without a request under way: who
// only holds connections open keeps nobody from asking how the gateway is.
type door struct {
	net.Listener
	server *Server

	mu     sync.Mutex
	guests list.List // of *visitor, who came first, or has asked last longest ago, in front
}

// Accept waits for the next connection.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v := d.admit(c)
		if v == nil {
			_ = c.Close() // whoever it was sees it, and may come again
			continue
		}
		if conf := d.server.credentials.Load().tls; conf != nil {
			return tls.Server(v, conf), nil
		}
		return v, nil
	}
}

// admit lets a connection in, if there is room, or room can be made.
func (d *door) admit(c net.Conn) *visitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guests.Len() >= maxConnections && !d.evict() {
		return nil
	}
	v := &visitor{Conn: c, door: d}
	v.place = d.guests.PushBack(v)
	return v
}

// evict closes a connection that is of no use now. It is called with mu held.
func (d *door) evict() bool {
	for e := d.guests.Front(); e != nil; e = e.Next() {
		if v, ok := e.Value.(*visitor); ok && !v.asks {
			d.guests.Remove(e)
			v.place = nil
			_ = v.Conn.Close() // the server notices
			return true
		}
	}
	return false
}

// A visitor is a connection that is counted until it is closed.
type visitor struct {
	net.Conn
	door *door

	place *list.Element // guarded by the door, as is what follows; nil when it has left
	asks  bool          // a request is under way
}

// Close closes the connection.
func (v *visitor) Close() error {
	v.door.mu.Lock()
	if v.place != nil {
		v.door.guests.Remove(v.place)
		v.place = nil
	}
	v.door.mu.Unlock()
	return v.Conn.Close()
}

// asking notes whether a request is under way.
func (v *visitor) asking(now bool) {
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.asks = now
	if v.place != nil {
		v.door.guests.MoveToBack(v.place)
	}
}

// visiting is where a context keeps the visitor that a request comes from.
type visiting struct{}

// connected puts the visitor of a connection into the context of its requests.
func connected(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, visiting{}, c)
}

// asked notes that r is under way, until what is returned is called.
func asked(r *http.Request) (over func()) {
	v, ok := r.Context().Value(visiting{}).(*visitor)
	if !ok {
		return func() {}
	}
	v.asking(true)
	return func() { v.asking(false) }
}
