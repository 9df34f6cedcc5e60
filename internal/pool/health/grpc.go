package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// The health service of gRPC, grpc.health.v1:
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Its messages are
//
//	message HealthCheckRequest  { string service = 1; }
//	message HealthCheckResponse { ServingStatus status = 1; }
const (
	grpcPath    = "/grpc.health.v1.Health/Check"
	grpcPrefix  = 5 // of a message: whether it is compressed, and its length
	maxGRPC     = 4 << 10
	maxService  = 1 << 10
	statusField = 1
)

const serving = 1 // of ServingStatus

// grpcStatus is the name of a ServingStatus.
func grpcStatus(n uint64) string {
	switch n {
	case 0:
		return "UNKNOWN"
	case serving:
		return "SERVING"
	case 2:
		return "NOT_SERVING"
	case 3:
		return "SERVICE_UNKNOWN"
	}
	return fmt.Sprint(n)
}

// byGRPC asks the health service.
func (p *probe) byGRPC(ctx context.Context) error {
	const what = "gRPC health check"
	resp, err := p.send(ctx, http.MethodPost, grpcPath, grpcRequest(p.check.Service))
	if err != nil {
		return p.because(what, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered HTTP status %d", what, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxGRPC+1))
	if err != nil {
		return p.because(what, err)
	}
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status") // an answer of trailers alone
	}
	if code != "0" {
		return fmt.Errorf("%s answered gRPC status %.20q", what, code)
	}
	status, err := grpcAnswer(body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if status != serving {
		return fmt.Errorf("%s answered %s", what, grpcStatus(status))
	}
	return nil
}

// grpcRequest is the request as it goes into the body: a message with its prefix.
func grpcRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, statusField<<3|2) // field 1, bytes
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) //nolint:gosec // at most maxService and a few
	return append(body, message...)
}

var errGRPC = errors.New("the answer is not a HealthCheckResponse")

// grpcAnswer reads the status out of a body: one message that is not compressed, of
// which fields that are not known are left out of account.
func grpcAnswer(body []byte) (status uint64, err error) {
	if len(body) < grpcPrefix || len(body) > maxGRPC || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-grpcPrefix {
		return 0, errGRPC
	}
	r := bytes.NewReader(body[grpcPrefix:])
	for r.Len() > 0 {
		key, err := binary.ReadUvarint(r)
		if err != nil {
			return 0, errGRPC
		}
		n, err := grpcValue(r, key&7)
		if err != nil {
			return 0, err
		}
		if key == statusField<<3 {
			status = n
		}
	}
	return status, nil
}

// grpcValue reads a value of a wire type, or passes it over if it is not a number.
func grpcValue(r *bytes.Reader, wire uint64) (n uint64, err error) {
	var skip uint64
	switch wire {
	case 0:
		if n, err = binary.ReadUvarint(r); err != nil {
			return 0, errGRPC
		}
		return n, nil
	case 1:
		skip = 8
	case 2:
		if skip, err = binary.ReadUvarint(r); err != nil {
			return 0, errGRPC
		}
	case 5:
		skip = 4
	default:
		return 0, errGRPC
	}
	if skip > uint64(r.Len()) { //nolint:gosec // it is not negative
		return 0, errGRPC
	}
	_, _ = r.Seek(int64(skip), io.SeekCurrent)
	return 0, nil
}
