package pool

import "time"

// Tried is told of every try when the head of its answer has come, or when it has failed
// before: then status is 0 and err is what the client would be told. Took is the time from
// its beginning. It must be quick, wait for nothing and keep nothing.
type Tried func(method string, status int, err error, took time.Duration)

// count tells of the try.
func (t *try) count(status int, err error, took time.Duration) {
	if f := t.pool.tried; f != nil {
		f(t.method, status, err, took)
	}
}
