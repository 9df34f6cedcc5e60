package limits

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"io"
	"strings"

	"github.com/airside-gateway/airside"
)

// json reads a body that announces JSON, and refuses it if it is not as it should
// be.
func (p *policy) json(x *airside.Exchange) error {
	is, err := announcesJSON(x.Request.Header)
	if err != nil || !is {
		return err
	}
	b, err := x.ReadBody(p.whole)
	if err != nil || len(b) == 0 {
		return err
	}
	for _, encoding := range x.Request.Header["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(encoding), "identity") {
			return airside.Errorf(airside.UnsupportedMedia, "a JSON body must come without Content-Encoding here")
		}
	}
	return check(b, p.JSONDepth, p.JSONKeys)
}

// check refuses b unless it is one JSON text (RFC 8259, in UTF-8, without a key that
// occurs twice), at most depth deep and with at most keys keys in each object. 0 is
// no bound.
func check(b []byte, depth, keys int) error {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	for whole := false; ; {
		_, err := d.ReadToken()
		if errors.Is(err, io.EOF) && whole {
			return nil
		}
		if err != nil {
			return refuse(err)
		}
		if whole {
			return airside.Errorf(airside.Invalid, "the request body holds more than one JSON text")
		}
		level := d.StackDepth()
		if depth > 0 && level > depth {
			return airside.Errorf(airside.Invalid, "the JSON body is nested deeper than the %d levels allowed here, at byte %d", depth, d.InputOffset())
		}
		kind, n := d.StackIndex(level) // of an object, n counts keys and values
		if keys > 0 && kind == jsontext.KindBeginObject && (n+1)/2 > int64(keys) {
			return airside.Errorf(airside.Invalid, "an object of the JSON body has more than the %d keys allowed here, at byte %d", keys, d.InputOffset())
		}
		whole = level == 0
	}
}

func refuse(err error) error {
	at := int64(0)
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return airside.Errorf(airside.Invalid, "an object of the JSON body has one key twice, at byte %d", at).Because(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return airside.Errorf(airside.Invalid, "the JSON body ends too early").Because(err)
	}
	return airside.Errorf(airside.Invalid, "the request body is not valid JSON at byte %d", at).Because(err)
}
