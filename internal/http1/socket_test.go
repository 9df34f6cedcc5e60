package http1

import (
	"io"
	"net"
	"testing"
)

// What is no TCP connection cannot be driven, says so, and works as before.
func TestSocketOfAnythingElse(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	s := NewSocket(b)
	if s.CanDrive() {
		t.Error("a pipe can be driven")
	}
	step := func() bool {
		t.Error("step was called")
		return true
	}
	if err := s.Drive(step); err == nil {
		t.Error("Drive: got no error")
	}
	if err := s.DriveFunc(s.Step(step)); err == nil {
		t.Error("DriveFunc: got no error")
	}
	if n, again, err := s.Try(make([]byte, 1)); n != 0 || again || err == nil {
		t.Errorf("Try: got %d, %t, %v, want an error", n, again, err)
	}
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(a) // what has come is compared below
		got <- string(all)
	}()
	for _, c := range [][2]string{{"a", "b"}, {"", "c"}, {"d", ""}, {"", ""}} {
		if n, err := s.Writev([]byte(c[0]), []byte(c[1])); n != len(c[0])+len(c[1]) || err != nil {
			t.Errorf("Writev(%q, %q): got %d, %v", c[0], c[1], n, err)
		}
	}
	if n, err := s.Write([]byte("e")); n != 1 || err != nil {
		t.Errorf("Write: got %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := <-got; got != "abcde" {
		t.Errorf("got %q, want %q", got, "abcde")
	}
}
