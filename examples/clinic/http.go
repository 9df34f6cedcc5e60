package clinic

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
	streamType  = "text/event-stream"
)

// A refusal is why a request is not answered, with the status that says so.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

// asRefusal makes any error a refusal; what is not one is the agent's own fault,
// of which the client learns nothing.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{status: http.StatusInternalServerError, detail: "something went wrong here"}
}

// problem is a problem document, RFC 9457 section 3.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// failWithProblem tells the client why, as a problem document.
func failWithProblem(w http.ResponseWriter, err error) {
	r := asRefusal(err)
	reply(w, r.status, problemType, problem{
		Type: "about:blank", Title: http.StatusText(r.status), Status: r.status, Detail: r.detail,
	})
}

// reply writes v as JSON, indented for people. The data of this package always
// marshals; a client that went away is nobody to tell.
func reply(w http.ResponseWriter, status int, mediaType string, v any) {
	b, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	replyBytes(w, status, mediaType, append(b, '\n'))
}

func replyBytes(w http.ResponseWriter, status int, mediaType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// only answers one method (and HEAD with GET), and refuses the others with 405.
func only(method string, fail func(http.ResponseWriter, error), h http.HandlerFunc) http.HandlerFunc {
	allow := method
	if method == http.MethodGet {
		allow = "GET, HEAD"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", allow)
			fail(w, refuse(http.StatusMethodNotAllowed, "%s is not allowed here: use %s", r.Method, allow))
			return
		}
		h(w, r)
	}
}

func nothingHere(fail func(http.ResponseWriter, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fail(w, refuse(http.StatusNotFound, "there is nothing at %s", r.URL.Path))
	}
}

// decode reads the body, at most limit bytes of JSON, into v: strictly, so that
// unknown and repeated names are refused wherever v is a Go struct.
func decode(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != jsonType {
		return refuse(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than the %d bytes allowed here", limit)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "the body could not be read")
	}
	return unmarshal(body, v, json.RejectUnknownMembers(true))
}

// unmarshal is json.Unmarshal with errors for clients.
func unmarshal(b []byte, v any, opts ...json.Options) error {
	err := json.Unmarshal(b, v, opts...)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return refuse(http.StatusBadRequest, "the name at %q stands there twice", string(e.JSONPointer))
		}
		return refuse(http.StatusBadRequest, "the body is not valid JSON, at byte %d", e.ByteOffset)
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		if errors.Is(err, json.ErrUnknownName) {
			return refuse(http.StatusBadRequest, "the name at %q is not known here", string(e.JSONPointer))
		}
		return refuse(http.StatusBadRequest, "the value at %q has the wrong type or range", string(e.JSONPointer))
	}
	return refuse(http.StatusBadRequest, "the body is not the JSON document expected here")
}

// mustDecode reads a file that is compiled in; the tests prove that it can.
func mustDecode(name string, b []byte, v any, opts ...json.Options) {
	if err := json.Unmarshal(b, v, opts...); err != nil {
		panic(fmt.Sprintf("clinic: %s: %v", name, err))
	}
}
