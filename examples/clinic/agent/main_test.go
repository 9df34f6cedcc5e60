package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

func TestRunRefusesWhatItCannotUnderstand(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want error
	}{
		{nil, errUsage},
		{[]string{"nobody"}, errUsage},
		{[]string{"records", "extra"}, errUsage},
		{[]string{"records", "-port", "1"}, errUsage},
		{[]string{"records", "-h"}, flag.ErrHelp},
	} {
		if got := run(t.Context(), tt.args, io.Discard); !errors.Is(got, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.args, got, tt.want)
		}
	}
}

// stopWriter ends the run as soon as the agent has said where it listens.
type stopWriter struct {
	bytes.Buffer
	stop context.CancelFunc
}

func (w *stopWriter) Write(p []byte) (int, error) {
	defer w.stop()
	return w.Buffer.Write(p)
}

func TestRunServesUntilItIsTold(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := &stopWriter{stop: stop}
	if err := run(ctx, []string{"symptoms", "-addr", "127.0.0.1:0"}, out); err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "symptoms listens on http://127.0.0.1:") {
		t.Errorf("got %q", got)
	}
}
