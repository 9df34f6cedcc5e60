package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Bounds of a profile of a span of time, in seconds.
const (
	defaultSpan = 30
	maxSpan     = 120
)

// profiles are served to who shows the token only: they tell much, and cost something.
// They are those of net/http/pprof, which is not used since it opens them to the default
// server of the process as soon as it is imported.
func (s *Server) profiles() []route {
	out := []route{
		{"/debug/pprof/profile", trusted, "Where processor time goes, for go tool pprof", spanParameters(), spanned("The profile."), s.span(pprof.StartCPUProfile, pprof.StopCPUProfile)},
		{"/debug/pprof/trace", trusted, "What the runtime does, for go tool trace", spanParameters(), spanned("The trace."), s.span(trace.Start, trace.Stop)},
	}
	for _, p := range []struct{ name, summary string }{
		{"allocs", "Memory that was allocated since the start"},
		{"block", "Where goroutines waited for one another, if that is measured"},
		{"goroutine", "What all goroutines do"},
		{"heap", "Memory in use"},
		{"mutex", "Where locks were waited for, if that is measured"},
		{"threadcreate", "What made the system threads"},
	} {
		out = append(out, route{
			"/debug/pprof/" + p.name, trusted, p.summary,
			[]parameter{{"debug", "integer", "1 or 2 for text to read; by default a file for go tool pprof."}},
			[]answer{{http.StatusOK, profile, "The profile.", nil}, {http.StatusOK, plainText, "The profile as text.", nil}, {http.StatusBadRequest, problems, "A parameter is not valid.", Problem{}}},
			s.lookup(p.name),
		})
	}
	return out
}

func spanParameters() []parameter {
	return []parameter{{"seconds", "integer", fmt.Sprintf("How long, from 1 to %d; by default %d.", maxSpan, defaultSpan)}}
}

func spanned(what string) []answer {
	return []answer{
		{http.StatusOK, profile, what, nil},
		{http.StatusBadRequest, problems, "A parameter is not valid.", Problem{}},
		{http.StatusConflict, problems, "Another one is being taken.", Problem{}},
	}
}

// number reads the only parameter that may be given.
func number(r *http.Request, name string, least, most, usual int) (int, error) {
	for n, vs := range r.URL.Query() {
		if n != name || len(vs) != 1 {
			return 0, fmt.Errorf("%s is the only parameter", name)
		}
		v, err := strconv.Atoi(vs[0])
		if err != nil || v < least || v > most {
			return 0, fmt.Errorf("%s is a number from %d to %d", name, least, most)
		}
		usual = v
	}
	return usual, nil
}

// lookup serves a profile that the runtime keeps.
func (s *Server) lookup(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		debug, err := number(r, "debug", 0, 2, 0)
		if err != nil {
			s.fail(w, &problem{status: http.StatusBadRequest, detail: err.Error()})
			return
		}
		var b bytes.Buffer
		if err := pprof.Lookup(name).WriteTo(&b, debug); err != nil {
			s.fail(w, &problem{status: http.StatusInternalServerError, detail: "the profile could not be written"})
			return
		}
		media := profile
		if debug > 0 {
			media = plainText
		} else {
			w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.pprof"`)
		}
		s.write(w, http.StatusOK, media, b.Bytes())
	}
}

// span serves what is taken between start and stop.
func (s *Server) span(start func(io.Writer) error, stop func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		seconds, err := number(r, "seconds", 1, maxSpan, defaultSpan)
		if err != nil {
			s.fail(w, &problem{status: http.StatusBadRequest, detail: err.Error()})
			return
		}
		if r.Method == http.MethodHead {
			s.write(w, http.StatusOK, profile, nil)
			return
		}
		if !s.profiling.TryLock() {
			s.fail(w, &problem{status: http.StatusConflict, detail: "another profile is being taken: wait for its end", retry: time.Second})
			return
		}
		defer s.profiling.Unlock()
		var b bytes.Buffer
		if err := s.take(w, r, time.Duration(seconds)*time.Second, &b, start, stop); err != nil {
			s.fail(w, &problem{status: http.StatusConflict, detail: "the profile could not be taken: the program takes one already"})
			return
		}
		w.Header().Set("Content-Disposition", `attachment; filename="airside.pprof"`)
		s.write(w, http.StatusOK, profile, b.Bytes())
	}
}

// maxTrace bounds what a trace may hold in memory.
const maxTrace = 64 << 20

var errTraceFull = errors.New("the trace has become too large")

// bounded is a buffer that takes no more than maxTrace.
type bounded struct{ b *bytes.Buffer }

func (b bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > maxTrace {
		return 0, errTraceFull
	}
	return b.b.Write(p)
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, d time.Duration, b *bytes.Buffer, start func(io.Writer) error, stop func()) error {
	const toWrite = 10 * time.Second
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Now().Add(d+toWrite))); err != nil {
		return err
	}
	if err := start(bounded{b}); err != nil {
		return err
	}
	defer stop()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-s.closing:
	}
	return nil
}
