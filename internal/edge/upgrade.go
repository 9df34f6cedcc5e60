package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/airside-gateway/airside"
)

// lastWords is how long an agent may still speak after the client has ended its
// side of an upgraded connection.
const lastWords = 5 * time.Second

// switchProtocols joins the client's connection and the agent's, as for
// WebSocket (RFC 9110 section 7.8), until one of them ends.
func (e *exchange) switchProtocols(resp *http.Response) error {
	agent, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || e.major != 1 {
		return &unsent{airside.Errorf(airside.UpstreamFailed, "the agent switched protocols where it cannot")}
	}
	client, rw, err := e.ctl.Hijack()
	if err != nil {
		return &unsent{fmt.Errorf("taking over the connection: %w", err)}
	}
	e.switched = true
	defer func() { _ = client.Close() }() // both ends are done
	if !e.server.adopt(client) {
		return nil
	}
	defer e.server.release(client)
	_ = client.SetDeadline(time.Time{}) // those of the HTTP server are over; a dead connection fails by itself
	if err := e.writeSwitch(rw.Writer, resp); err != nil {
		return nil //nolint:nilerr // the client is gone: there is nobody to cut off
	}
	// What was read ahead comes first; then the connection itself, since the reader of
	// net/http would take the end of the client's side for the end of the exchange.
	ahead := io.LimitReader(rw.Reader, int64(rw.Reader.Buffered()))
	e.join(client, io.MultiReader(ahead, client), agent)
	return nil
}

func (e *exchange) writeSwitch(w *bufio.Writer, resp *http.Response) error {
	h := resp.Header.Clone()
	h.Set("Connection", "Upgrade")
	h.Set(requestID, e.x.ID)
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	if _, err := io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\n"); err != nil {
		return err
	}
	if err := h.Write(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\r\n"); err != nil {
		return err
	}
	return w.Flush()
}

// join copies both ways and returns when both have ended.
func (e *exchange) join(client net.Conn, from io.Reader, agent io.ReadWriteCloser) {
	var last *time.Timer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(agent, from) // whichever side broke, this way is over
		if half, ok := agent.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		last = time.AfterFunc(lastWords, func() {
			_ = client.SetWriteDeadline(past)
			_ = agent.Close()
		})
	}()
	e.sent, _ = io.Copy(client, agent)
	_ = client.SetReadDeadline(past)
	_ = agent.Close()
	<-ended
	last.Stop()
}
