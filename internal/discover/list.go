package discover

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"io"
)

// A few is a list in a document, of which there may be so many and no more: an element is
// much longer in memory than the {} that it may be in the document.
type few[T limited] []T

// limited is what says how many of it a list may hold.
type limited interface{ most() int }

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (l *few[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*l = nil
	if d.PeekKind() != '[' { // null, or what is none of a list's
		return json.UnmarshalDecode(d, (*[]T)(l))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		var e T
		if len(*l) == e.most() {
			return fmt.Errorf("a list holds more than %d elements", e.most())
		}
		if err := json.UnmarshalDecode(d, &e); err != nil {
			return err
		}
		*l = append(*l, e)
	}
	_, err := d.ReadToken()
	return err
}

// text is a piece of text of a list.
type text string

func (text) most() int { return 100 }

// decode reads one document of size bytes at most, and no more of it into memory than it
// needs at a time.
func decode(r io.Reader, size int64, into any) error {
	return json.UnmarshalRead(io.LimitReader(r, size), into)
}
