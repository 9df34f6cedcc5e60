package transform

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/jq"
)

// The bounds of what is decoded. See the comment of the package.
const (
	plainRatio = 64 << 10 // bytes that a body may become by decompression, however small it was
	mostRatio  = 100      // times as large as it was that it may become beyond

	leastValues = 1 << 10 // values that a body may always hold
	valueBytes  = 4       // bytes of max for each value beyond

	memoryRatio = 64        // times max that the values of a body may take
	mostMemory  = 256 << 20 // and never more

	pieceSize = 32 << 10 // of a body that is measured, before it is looked whether that is too much

	roomSize  = 64 << 20 // that the values of all bodies together take
	freeSize  = 64 << 10 // that the values of a body take without asking
	roomWait  = 5 * time.Second
	roomRetry = time.Second
)

// What is wrong with a body before it is decoded.
var (
	errLarge  = errors.New("transform: larger than max when decompressed")
	errRatio  = errors.New("transform: compressed more than 100 to 1")
	errValues = errors.New("transform: too many values")
	errMemory = errors.New("transform: the values take too much memory")
)

// A packingError says that a body is not the gzip that it is said to be.
type packingError struct{ error }

func (e *packingError) Unwrap() error { return e.error }

// room is shared by all policies of this kind, over reloads.
func room(env *airside.Env) (*jq.Room, error) {
	return airside.Keep(env, "policy transform: room", func() (*jq.Room, error) { return jq.NewRoom(roomSize), nil })
}

// decode decodes a body, that is packed by gzip or plain, for q. Nothing of it is
// kept decompressed, and nothing decoded, before it is known what that takes, and
// there is room. The function that it returns gives the room back, and must be called
// when the value is no longer used.
//
// It fails with one of the errors above, a [*packingError], a [*jq.SyntaxError], with
// [jq.ErrFull] or the cause of the end of ctx.
func (p *policy) decode(ctx context.Context, q *jq.Query, body []byte, packed bool) (v any, leave func(), err error) {
	m, err := p.measure(body, packed)
	if err != nil {
		return nil, nil, err
	}
	leave, err = p.enter(ctx, q, m, packed)
	if err != nil {
		return nil, nil, err
	}
	if packed {
		body, err = unpack(body, m.Size())
	}
	if err == nil {
		v, err = jq.Decode(body)
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return v, leave, nil
}

// measure finds out what a body is, and refuses one that is too much.
func (p *policy) measure(body []byte, packed bool) (*jq.Measure, error) {
	m := &meter{policy: p}
	if packed {
		return &m.Measure, m.unpack(body)
	}
	for piece := range slices.Chunk(body, pieceSize) {
		if _, err := m.Write(piece); err != nil {
			return nil, err
		}
	}
	return &m.Measure, nil
}

func (p *policy) mostValues() int { return max(leastValues, int(p.Max)/valueBytes) }

func (p *policy) mostMemory() int64 { return min(int64(p.Max)*memoryRatio+freeSize, mostMemory) }

// A meter measures a body for a policy, and takes no more of it once it is too much.
type meter struct {
	jq.Measure
	policy *policy
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Measure.Write(b)
	switch {
	case m.Values() > m.policy.mostValues():
		err = errValues
	case m.Memory() > m.policy.mostMemory():
		err = errMemory
	}
	return n, err
}

// unpack measures what body decompresses to, of which nothing is kept.
func (m *meter) unpack(body []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return &packingError{err}
	}
	most := int64(m.policy.Max)
	limit := min(most, max(plainRatio, int64(len(body))*mostRatio))
	n, err := io.Copy(m, io.LimitReader(z, limit+1))
	switch {
	case errors.Is(err, errValues), errors.Is(err, errMemory):
		return err
	case err != nil:
		return &packingError{err}
	case n <= limit:
		return nil
	case limit < most:
		return errRatio
	}
	return errLarge
}

// unpack decompresses body to the size that it is known to have.
func unpack(body []byte, size int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, &packingError{err}
	}
	plain := make([]byte, size)
	if _, err := io.ReadFull(z, plain); err != nil {
		return nil, &packingError{err}
	}
	return plain, nil
}

// enter waits for the memory that a body takes: its values, its text if that is made
// anew, the result, and what fromjson may make of its strings.
func (p *policy) enter(ctx context.Context, q *jq.Query, m *jq.Measure, packed bool) (leave func(), err error) {
	n := m.Memory() + m.Size()
	if packed {
		n += m.Size()
	}
	if q.Decodes() {
		n += m.Text() * jq.FromJSONRatio
	}
	if n <= freeSize {
		return func() {}, nil
	}
	return p.room.Enter(ctx, n, roomWait)
}

// badBody phrases an error of decode about a request.
func (p *policy) badBody(err error) error {
	if syntax, ok := errors.AsType[*jq.SyntaxError](err); ok {
		return airside.Errorf(airside.Invalid, "the request body is refused as JSON: %s", syntax.Error()).Because(err)
	}
	if _, ok := errors.AsType[*packingError](err); ok {
		return airside.Errorf(airside.Invalid, "the request body is not valid gzip, as its Content-Encoding says").Because(err)
	}
	switch {
	case errors.Is(err, errLarge):
		return airside.Errorf(airside.TooLarge, "the request body is larger than the %s allowed here when it is decompressed", p.Max)
	case errors.Is(err, errRatio):
		return airside.Errorf(airside.TooLarge, "the request body becomes more than %d times as large when it is decompressed: send it plain", mostRatio)
	case errors.Is(err, errValues):
		return airside.Errorf(airside.TooLarge, "the request body holds more than the %d values allowed here: send less", p.mostValues())
	case errors.Is(err, errMemory):
		return airside.Errorf(airside.TooLarge, "the request body holds too many small objects and lists: send less")
	case errors.Is(err, jq.ErrFull):
		return full(err)
	}
	return err
}

// badAgentBody phrases an error of decode about an answer, or an event of one.
func (p *policy) badAgentBody(what string, err error) error {
	_, syntax := errors.AsType[*jq.SyntaxError](err)
	_, packing := errors.AsType[*packingError](err)
	switch {
	case syntax:
		return airside.Errorf(airside.UpstreamFailed, "%s is not valid JSON", what).Because(err)
	case packing:
		return airside.Errorf(airside.UpstreamFailed, "%s is not valid gzip, as it says", what).Because(err)
	case errors.Is(err, errLarge):
		return airside.Errorf(airside.UpstreamFailed, "%s is larger than the %s that can be transformed here", what, p.Max)
	case errors.Is(err, errRatio), errors.Is(err, errValues), errors.Is(err, errMemory):
		return airside.Errorf(airside.UpstreamFailed, "%s holds more than can be transformed here", what).Because(err)
	case errors.Is(err, jq.ErrFull):
		return full(err)
	}
	return err
}

func full(err error) error {
	e := airside.Errorf(airside.Unavailable, "the gateway has no memory left to transform this within %s; try again soon", roomWait)
	e.RetryAfter = roomRetry
	return e.Because(fmt.Errorf("transform: %d MiB are in use: %w", roomSize>>20, err))
}
