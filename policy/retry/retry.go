// Package retry sends a request again that failed in a way that may pass.
//
// Use it on a route whose answer is worth another try; what is said of one upstream
// belongs into the setting retry of that upstream, which is the same and knows more:
// there the next try goes to another endpoint. Do not use both, since tries
// multiply.
//
//	policies:
//	  again: { retry: { attempts: 3, on: [connect, 503], backoff: 100ms } }
//	  busy: { retry: { when: 'response.status == 409 && "x-again" in response.headers', per_try: 5s } }
//
//	routes:
//	  - { path: /agent1/*, use: [{ timeout: 20s }, again], to: http://127.0.0.1:9001 }
//	  - { path: /agent2/*, use: [{ retry: {} }], to: http://127.0.0.1:9002 }
//	  - { path: /agent3/*, use: [{ timeout: 20s }, busy], to: http://127.0.0.1:9003 }
//
// Beside what on lists, a condition in CEL may say what is worth another try: when. It
// sees request, call and caller, response (status, headers) and error (code, kind). With
// per_try a try that is slow leaves time for another.
//
// A request is sent again only if nothing of an answer has been passed on, and only
// if that is safe: its method is GET, HEAD, OPTIONS, PUT, DELETE or TRACE, or it
// carries an Idempotency-Key, or it is certain that no byte of it reached the agent.
// With repeat: any it is sent again whatever its method: what a POST asks for may then
// be done twice.
// What has begun is never sent again: where on lists reset, the first byte of an answer
// is awaited before its head is passed on, unless it is a stream of events.
// Its body must be among what was kept of it. What is further in on the route (the
// policies after this one, and the upstream) sees each try; what is further out sees
// the last one only. So put authentication, ratelimit, concurrency and a timeout for
// all tries together before this policy, and a timeout for each of them after it.
//
// # What the client sees
//
// The outcome of the last try, be it an answer or an error. A Retry-After of the
// agent is waited for if it is no longer than max_wait, and passed on otherwise. A
// try that there is no time for, because a timeout would end it before it began, is
// not made.
//
// # Bounds
//
// At most attempts tries; of the requests of the last ten seconds at most the share
// budget are tried again, or ten a second if that is more, so that an agent that
// fails under its load does not get more of it. At most body bytes of a request are
// kept. The budget starts anew with a reload.
package retry

import (
	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

func init() { airside.RegisterPolicy("retry", New) }

// Config is the settings of the policy. All of them may be left out.
type Config struct {
	pool.Retry
}

// New returns the policy. All routes that use it share its budget.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	return c.Middleware(nil), nil
}
