package basic

import (
	"container/list"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside"
)

// The bounds of what is remembered and of what waits.
const (
	rememberedRight = 4096
	rememberedWrong = 1024
	maxWaiting      = 32
)

var (
	errWrong = errors.New("wrong name or password")
	errBusy  = errors.New("too many checks wait")
)

type digest = [sha256.Size]byte

// A verifier checks credentials. It is safe for concurrent use.
type verifier struct {
	users      map[string]*user
	nobody     user // stands for names that are not known
	iterations int  // the most that any user has
	gate       *gate
	pepper     [sha256.Size]byte // for what is remembered; new in each generation

	mu           sync.Mutex
	right, wrong recent
	running      map[digest]*check
}

type user struct {
	hash   hash
	caller airside.Caller
}

// A check is one that is going on; others who bring the same wait for it.
type check struct {
	done chan struct{}
	user *user // nil: wrong
	err  error
}

func newVerifier(env *airside.Env, users map[string]User) (*verifier, error) {
	v := &verifier{users: map[string]*user{}, running: map[digest]*check{}, right: newRecent(rememberedRight), wrong: newRecent(rememberedWrong)}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(users)) {
		u := users[name]
		h, err := u.hashed()
		if err != nil {
			errs = append(errs, airside.FieldErrorf("users."+name, "%w", err))
			continue
		}
		v.users[name] = &user{hash: h, caller: airside.Caller{ID: name, Claims: u.Claims}}
		if h.iterations >= v.iterations {
			v.iterations = h.iterations
			v.nobody.hash = hash{iterations: h.iterations, salt: h.salt, key: make([]byte, len(h.key))}
		}
	}
	if _, err := rand.Read(v.pepper[:]); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var err error
	v.gate, err = airside.Keep(env, "policy basic: checks", func() (*gate, error) {
		return newGate(max(1, runtime.GOMAXPROCS(0)/2)), nil
	})
	return v, err
}

func (u *User) hashed() (hash, error) {
	if u.Hash != "" {
		return parseHash(string(u.Hash))
	}
	return newHash(string(u.Password))
}

// verify returns who brings "name:password", or errWrong, errBusy or the error of
// ctx.
func (v *verifier) verify(ctx context.Context, credentials string) (airside.Caller, error) {
	d := v.digest(credentials)
	for {
		u, c, first := v.begin(d)
		switch {
		case u != nil:
			return u.caller, nil
		case c == nil:
			return airside.Caller{}, errWrong
		case first:
			v.finish(ctx, d, c, credentials)
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return airside.Caller{}, ctx.Err()
		}
		switch {
		case c.user != nil:
			return c.user.caller, nil
		case c.err == nil:
			return airside.Caller{}, errWrong
		case first || !errors.Is(c.err, errGone):
			return airside.Caller{}, c.err
		}
		// Who began the check went away before it was made.
	}
}

func (v *verifier) digest(credentials string) digest {
	var buf [sha256.Size + maxCredentials]byte
	return sha256.Sum256(append(append(buf[:0], v.pepper[:]...), credentials...))
}

// begin says what is known of d: the user; or the check that is going on or,
// if first, has to be made now; or neither, if it is wrong.
func (v *verifier) begin(d digest) (u *user, c *check, first bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if u, ok := v.right.find(d); ok {
		return u, nil, false
	}
	if _, ok := v.wrong.find(d); ok {
		return nil, nil, false
	}
	if c := v.running[d]; c != nil {
		return nil, c, false
	}
	c = &check{done: make(chan struct{})}
	v.running[d] = c
	return nil, c, true
}

// finish makes the check c and tells everybody.
func (v *verifier) finish(ctx context.Context, d digest, c *check, credentials string) {
	c.user, c.err = v.compute(ctx, credentials)
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.running, d)
	switch {
	case c.user != nil:
		v.right.add(d, c.user)
	case c.err == nil:
		v.wrong.add(d, nil)
	}
	close(c.done)
}

func (v *verifier) compute(ctx context.Context, credentials string) (*user, error) {
	if err := v.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer v.gate.leave()
	name, password, _ := strings.Cut(credentials, ":")
	u, known := v.users[name]
	if !known {
		u = &v.nobody
	}
	ok, err := u.hash.matches(password, v.iterations)
	if err != nil || !ok || !known {
		return nil, err
	}
	return u, nil
}

// A gate lets so many in at a time, and maxWaiting more wait.
type gate struct {
	places  chan struct{}
	waiting atomic.Int64
}

func newGate(places int) *gate { return &gate{places: make(chan struct{}, places)} }

// errGone is that of a check whose client went away before it was made.
var errGone = errors.New("the client went away")

func (g *gate) enter(ctx context.Context) error {
	select {
	case g.places <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > maxWaiting {
		g.waiting.Add(-1)
		return errBusy
	}
	defer g.waiting.Add(-1)
	select {
	case g.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.Join(errGone, ctx.Err())
	}
}

func (g *gate) leave() { <-g.places }

// recent remembers the users of digests, those that were asked for last.
type recent struct {
	size  int
	index map[digest]*list.Element
	order *list.List // the newest first
}

type remembered struct {
	digest digest
	user   *user
}

func newRecent(size int) recent {
	return recent{size: size, index: map[digest]*list.Element{}, order: list.New()}
}

func (r *recent) find(d digest) (*user, bool) {
	e, ok := r.index[d]
	if !ok {
		return nil, false
	}
	r.order.MoveToFront(e)
	known, _ := e.Value.(*remembered)
	return known.user, true
}

func (r *recent) add(d digest, u *user) {
	if _, ok := r.index[d]; ok {
		return
	}
	r.index[d] = r.order.PushFront(&remembered{d, u})
	if r.order.Len() <= r.size {
		return
	}
	oldest := r.order.Back()
	known, _ := oldest.Value.(*remembered)
	delete(r.index, known.digest)
	r.order.Remove(oldest)
}
