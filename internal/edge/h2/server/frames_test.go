package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestErrors proves what becomes of a connection or a stream on which something comes
// that may not, RFC 9113 sections 5 and 6: GOAWAY or RST_STREAM, with the right code.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		send   func(p *peer)
		code   http2.ErrCode
		stream uint32 // that is reset; 0: the connection ends
	}{
		{"DATA on no stream", func(p *peer) { p.WriteRawFrame(http2.FrameData, 0, 0, []byte("x")) }, http2.ErrCodeProtocol, 0},
		{"DATA on an idle stream", func(p *peer) { p.WriteData(1, true, nil) }, http2.ErrCodeProtocol, 0},
		{"DATA after the end", func(p *peer) { p.open(1, true, get...); p.WriteData(1, true, []byte("x")) }, http2.ErrCodeStreamClosed, 1},
		{"padding as long as the frame", func(p *peer) {
			p.open(1, false, post...)
			p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{1})
		}, http2.ErrCodeProtocol, 0},
		{"a body too long", func(p *peer) {
			p.open(1, false, append(post, "content-length: 1")...)
			p.WriteData(1, true, []byte("xy"))
		}, http2.ErrCodeProtocol, 1},
		{"a body too short", func(p *peer) {
			p.open(1, false, append(post, "content-length: 3")...)
			p.WriteData(1, true, []byte("xy"))
		}, http2.ErrCodeProtocol, 1},
		{"a body too short before trailers", func(p *peer) {
			p.open(1, false, append(post, "content-length: 3")...)
			p.WriteData(1, false, []byte("xy"))
			p.open(1, true, "a: b")
		}, http2.ErrCodeProtocol, 1},
		{"HEADERS on no stream", func(p *peer) { p.open(0, true, get...) }, http2.ErrCodeProtocol, 0},
		{"HEADERS on an even stream", func(p *peer) { p.open(2, true, get...) }, http2.ErrCodeProtocol, 0},
		{"HEADERS after the end", func(p *peer) { p.open(1, true, get...); p.open(1, true, get...) }, http2.ErrCodeStreamClosed, 1},
		{"HEADERS on a stream that was left out", func(p *peer) { p.open(3, true, get...); p.open(1, true, get...) }, http2.ErrCodeStreamClosed, 0},
		{"trailers that do not end", func(p *peer) { p.open(1, false, post...); p.open(1, false, "a: b") }, http2.ErrCodeProtocol, 1},
		{"trailers with a pseudo-header", func(p *peer) { p.open(1, false, post...); p.open(1, true, ":path: /b") }, http2.ErrCodeProtocol, 1},
		{"a head that depends on itself", func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: p.block(get...), Priority: http2.PriorityParam{StreamDep: 1, Weight: 1}})
		}, http2.ErrCodeProtocol, 1},
		{"an index that is not there", func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: []byte{0xfe}})
		}, http2.ErrCodeCompression, 0},
		{"a head that is cut off", func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: []byte{0, 5, 'a'}})
		}, http2.ErrCodeCompression, 0},
		{"CONTINUATION of nothing", func(p *peer) { p.WriteContinuation(1, true, nil) }, http2.ErrCodeProtocol, 0},
		{"a head that is interrupted", func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: p.block(get...)})
			p.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol, 0},
		{"CONTINUATION of another", func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: p.block(get...)})
			p.WriteContinuation(3, true, nil)
		}, http2.ErrCodeProtocol, 0},
		{"RST_STREAM of an idle stream", func(p *peer) { p.WriteRSTStream(1, http2.ErrCodeCancel) }, http2.ErrCodeProtocol, 0},
		{"RST_STREAM too short", func(p *peer) { p.open(1, false, post...); p.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte("abc")) }, http2.ErrCodeFrameSize, 0},
		{"SETTINGS on a stream", func(p *peer) { p.WriteRawFrame(http2.FrameSettings, 0, 1, nil) }, http2.ErrCodeProtocol, 0},
		{"SETTINGS too short", func(p *peer) { p.WriteRawFrame(http2.FrameSettings, 0, 0, []byte("abc")) }, http2.ErrCodeFrameSize, 0},
		{"SETTINGS acknowledged with something", func(p *peer) { p.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)) }, http2.ErrCodeFrameSize, 0},
		{"SETTINGS acknowledged that were not sent", func(p *peer) { p.WriteSettingsAck() }, http2.ErrCodeProtocol, 0},
		{"push of 2", func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }, http2.ErrCodeProtocol, 0},
		{"a first window too large", func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }, http2.ErrCodeFlowControl, 0},
		{"a frame size too small", func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }, http2.ErrCodeProtocol, 0},
		{"a push", func(p *peer) { p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}) }, http2.ErrCodeProtocol, 0},
		{"PING on a stream", func(p *peer) { p.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }, http2.ErrCodeProtocol, 0},
		{"PING too short", func(p *peer) { p.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }, http2.ErrCodeFrameSize, 0},
		{"GOAWAY on a stream", func(p *peer) { p.WriteRawFrame(http2.FrameGoAway, 0, 1, make([]byte, 8)) }, http2.ErrCodeProtocol, 0},
		{"a window of nothing", func(p *peer) { p.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }, http2.ErrCodeProtocol, 0},
		{"a window of nothing for a stream", func(p *peer) {
			p.open(1, false, post...)
			p.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4))
		}, http2.ErrCodeProtocol, 1},
		{"a window that overflows", func(p *peer) { p.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl, 0},
		{"a stream's window that overflows", func(p *peer) { p.open(1, false, post...); p.WriteWindowUpdate(1, 1<<31-1) }, http2.ErrCodeFlowControl, 1},
		{"all windows overflow", func(p *peer) {
			p.open(1, false, post...)
			p.WriteWindowUpdate(1, 1<<30)
			p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, http2.ErrCodeFlowControl, 0},
		{"a window of an idle stream", func(p *peer) { p.WriteWindowUpdate(1, 1) }, http2.ErrCodeProtocol, 0},
		{"PRIORITY too short", func(p *peer) { p.WriteRawFrame(http2.FramePriority, 0, 1, make([]byte, 4)) }, http2.ErrCodeFrameSize, 1},
		{"PRIORITY on no stream", func(p *peer) { p.WriteRawFrame(http2.FramePriority, 0, 0, make([]byte, 5)) }, http2.ErrCodeProtocol, 0},
		{"a frame too long", func(p *peer) { p.WriteRawFrame(0xaa, 0, 0, make([]byte, maxFrame+1)) }, http2.ErrCodeFrameSize, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			p := s.dial()
			tt.send(p)
			switch f := p.next().(type) {
			case *http2.GoAwayFrame:
				if tt.stream != 0 || f.ErrCode != tt.code {
					t.Errorf("got GOAWAY %v %q, want %v on stream %d", f.ErrCode, f.DebugData(), tt.code, tt.stream)
				}
				if f := p.next(); f != nil {
					t.Errorf("then came %v", f)
				}
			case *http2.RSTStreamFrame:
				if f.StreamID != tt.stream || f.ErrCode != tt.code {
					t.Errorf("got RST_STREAM %v on %d, want %v on %d", f.ErrCode, f.StreamID, tt.code, tt.stream)
				}
				p.WritePing(false, [8]byte{7})
				if f, ok := p.next().(*http2.PingFrame); !ok || !f.IsAck() {
					t.Error("the connection does not go on")
				}
			default:
				t.Errorf("got %v", f)
			}
		})
	}
}

// TestIgnored proves that what says nothing changes nothing.
func TestIgnored(t *testing.T) {
	s := serve(t, echo)
	p := s.dial()
	p.WriteRawFrame(0xaa, 0xff, 7, []byte("unknown"))
	p.WritePriority(9, http2.PriorityParam{StreamDep: 3})
	p.WriteGoAway(0, http2.ErrCodeNo, nil)
	p.WriteSettings(http2.Setting{ID: 0xff, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	p.open(1, true, get...)
	p.want(1, "")
	p.WriteWindowUpdate(1, 5)
	p.WriteRSTStream(1, http2.ErrCodeCancel)
	p.open(3, true, get...)
	p.want(3, "")
}

// TestFirstFrame proves that a connection begins with the preface and SETTINGS.
func TestFirstFrame(t *testing.T) {
	for _, begin := range []string{strings.Repeat("x", 24), http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00ABCDEFGH"} {
		s := serve(t, echo)
		p := s.raw(begin)
		code := noReset
		for f := p.next(); f != nil; f = p.next() {
			if g, ok := f.(*http2.GoAwayFrame); ok {
				code = g.ErrCode
			}
		}
		if code != http2.ErrCodeProtocol {
			t.Errorf("%q: got %v", begin, code)
		}
	}
}

// TestHeads proves which heads are refused, RFC 9113 section 8: by a reset, or in words
// before it.
func TestHeads(t *testing.T) {
	with := func(fields ...string) []string { return append(append([]string(nil), get...), fields...) }
	for _, tt := range []struct {
		name   string
		fields []string
		status string // "" for none
		reset  http2.ErrCode
	}{
		{"usual", get, "200", noReset},
		{"te: trailers", with("te: trailers"), "200", noReset},
		{"OPTIONS *", []string{":method: OPTIONS", ":scheme: http", ":path: *", ":authority: host"}, "200", noReset},
		{"no method", get[1:], "", http2.ErrCodeProtocol},
		{"no scheme", []string{get[0], get[2], get[3]}, "", http2.ErrCodeProtocol},
		{"no path", []string{get[0], get[1], get[3]}, "", http2.ErrCodeProtocol},
		{"another scheme", []string{get[0], ":scheme: ftp", get[2], get[3]}, "", http2.ErrCodeProtocol},
		{"a path without a slash", []string{get[0], get[1], ":path: a", get[3]}, "", http2.ErrCodeProtocol},
		{"a path with a space", []string{get[0], get[1], ":path: /a b", get[3]}, "", http2.ErrCodeProtocol},
		{"a path with a fragment", []string{get[0], get[1], ":path: /a#b", get[3]}, "", http2.ErrCodeProtocol},
		{"two paths", append(get[:4:4], ":path: /b"), "", http2.ErrCodeProtocol},
		{"an unknown pseudo-header", append(get[:4:4], ":a: b"), "", http2.ErrCodeProtocol},
		{"a status", append(get[:4:4], ":status: 200"), "", http2.ErrCodeProtocol},
		{"a pseudo-header after a header", []string{get[0], get[1], "a: b", get[2], get[3]}, "", http2.ErrCodeProtocol},
		{"CONNECT with a path", []string{":method: CONNECT", ":path: /", ":authority: host:1"}, "", http2.ErrCodeProtocol},
		{"CONNECT without a host", []string{":method: CONNECT"}, "", http2.ErrCodeProtocol},
		{"capitals", with("A: b"), "", http2.ErrCodeProtocol},
		{"a space in a name", with("a b: c"), "", http2.ErrCodeProtocol},
		{"a line end", with("a: b\r\nc: d"), "", http2.ErrCodeProtocol},
		{"NUL", with("a: \x00"), "", http2.ErrCodeProtocol},
		{"a blank at the end", with("a: b "), "", http2.ErrCodeProtocol},
		{"a length that is no number", with("content-length: x"), "", http2.ErrCodeProtocol},
		{"a length and no body", with("content-length: 1"), "", http2.ErrCodeProtocol},
		{"a length of nothing", with("content-length: 0"), "200", noReset},
		{"two lengths", with("content-length: 0", "content-length: 0"), "", http2.ErrCodeProtocol},
		{"connection", with("connection: close"), "400", http2.ErrCodeProtocol},
		{"transfer-encoding", with("transfer-encoding: chunked"), "400", http2.ErrCodeProtocol},
		{"te", with("te: gzip"), "400", http2.ErrCodeProtocol},
		{"a trailer that is none", with("trailer: content-length"), "400", http2.ErrCodeProtocol},
		{"a trailer that is no name", with("trailer: \"a\""), "400", http2.ErrCodeProtocol},
		{"a method that is none", []string{":method: G T", get[1], get[2], get[3]}, "400", http2.ErrCodeProtocol},
		{"too large", with("a: "+strings.Repeat("b", 20<<10), "c: "+strings.Repeat("d", 20<<10)), "431", noReset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, echo)
			p := s.dial()
			b := append([]byte(nil), p.block(tt.fields...)...)
			first := min(len(b), maxFrame)
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: first == len(b), BlockFragment: b[:first]})
			for b = b[first:]; len(b) > 0; b = b[first:] {
				first = min(len(b), maxFrame)
				p.WriteContinuation(1, first == len(b), b[:first])
			}
			a := p.answer(1)
			if a.reset == noReset && tt.reset != noReset {
				if f, ok := p.next().(*http2.RSTStreamFrame); ok {
					a.reset = f.ErrCode
				}
			}
			if a.status != tt.status || a.reset != tt.reset {
				t.Errorf("got %+v, want status %q and reset %v", a, tt.status, tt.reset)
			}
			p.open(3, true, get...)
			p.want(3, "")
		})
	}
}
