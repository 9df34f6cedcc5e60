package http

import (
	"errors"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

var errNotCounted = errors.New("http: nobody counts tries")

// tried is who counts the tries of this upstream; nil if nobody does. A gateway that does
// keeps a function by that name, which makes one of the name of an upstream.
func tried(env *airside.Env) pool.Tried {
	v, err := env.Keep("tries", func() (any, error) { return nil, errNotCounted })
	if err != nil {
		return nil
	}
	if f, ok := v.(func(upstream string) pool.Tried); ok {
		return f(strings.TrimPrefix(env.Where, "upstreams."))
	}
	return nil
}
