package verify

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// open lets a request through that stays.
func (e *endpoint) open(token string) (ctx context.Context, release func()) {
	e.t.Helper()
	id, err := e.verify(token)
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, release = watched(context.Background(), sourceOf{e.x, token}, id)
	e.x.cut(e.now()) // which finds that it is running
	return ctx, release
}

// second does what is done each second, twice: what is asked in one is known in the next.
func (e *endpoint) second() {
	for range 2 {
		e.x.cut(e.now())
		e.x.source.(*introspection).askAgain(e.t.Context())
	}
	e.x.cut(e.now())
}

// says has the endpoint answer that about the token "good" from now on.
func (e *endpoint) says(changes change) {
	e.set(func() {
		for name, value := range changes {
			if e.answer[name] = value; value == nil {
				delete(e.answer, name)
			}
		}
	})
}

// fails has the endpoint answer no question.
func (e *endpoint) fails(status int) { e.set(func() { e.status = status }) }

func TestStreamIsCutWhenItsIssuerRefusesTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		says change
		want error
	}{
		"revoked":          {change{"active": false}, ErrInactive},
		"exp moved":        {change{"exp": start.Unix()}, ErrExpired},
		"bound to a key":   {change{"cnf": map[string]any{"jkt": "x"}}, ErrBound},
		"refresh token":    {change{"token_type": "refresh_token"}, ErrType},
		"nobody's":         {change{"sub": nil, "client_id": nil}, ErrMalformed},
		"still what it is": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{Keep: 10 * time.Second})
			ctx, release := e.open("good")
			defer release()
			other, releaseOther := e.open("good-other")
			releaseOther()
			e.says(test.says)
			e.pass(10*time.Second - 1)
			e.second()
			wantErr(t, context.Cause(ctx), nil) // the answer is taken for true still
			e.pass(1)
			e.second()
			wantErr(t, context.Cause(ctx), test.want)
			wantErr(t, context.Cause(other), context.Canceled) // released: nobody asks about it
			if n := e.questions(); n != 3 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestStreamGoesOnWhileItsIssuerTakesTheToken: a hundred requests with one token are one question each time, and none
// more than the cache would have asked.
func TestStreamGoesOnWhileItsIssuerTakesTheToken(t *testing.T) {
	for name, exp := range map[string]any{"without exp": nil, "exp moves on": "later"} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{Keep: 30 * time.Minute})
			e.says(change{"exp": nil})
			if exp != nil {
				e.says(change{"exp": e.now().Add(time.Hour).Unix()})
			}
			var streams []context.Context
			for range 100 {
				ctx, release := e.open("good")
				defer release()
				streams = append(streams, ctx)
			}
			for n := range 10 {
				e.pass(30*time.Minute - time.Second)
				e.second()
				if exp != nil {
					e.says(change{"exp": e.now().Add(time.Hour).Unix()})
				}
				e.pass(time.Second)
				e.second()
				if got := e.questions(); got != n+2 {
					t.Fatalf("asked %d times in %d half hours", got, n+1)
				}
			}
			for _, ctx := range streams {
				wantErr(t, context.Cause(ctx), nil)
			}
		})
	}
}

// TestStreamWithoutExpIsAskedAboutBeforeItIsCut: where nobody knows an exp, its end is a question and no cut.
func TestStreamWithoutExpIsAskedAboutBeforeItIsCut(t *testing.T) {
	e := newEndpoint(t, Introspection{Keep: 24 * time.Hour})
	e.says(change{"exp": nil})
	ctx, release := e.open("good")
	defer release()
	for range 5 {
		e.pass(withoutExp)
		e.second()
		wantErr(t, context.Cause(ctx), nil)
	}
}

func TestStreamOutlivesAnOutageOfIntrospectionButNotItsToken(t *testing.T) {
	for name, test := range map[string]struct {
		exp  any
		want error
	}{
		"exp": {start.Add(time.Hour).Unix(), ErrExpired}, "without exp": {nil, ErrCutUnasked},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{Keep: time.Minute})
			e.says(change{"exp": test.exp})
			ctx, release := e.open("good")
			defer release()
			e.fails(502)
			for range 59 {
				e.pass(time.Minute)
				e.second()
				wantErr(t, context.Cause(ctx), nil)
			}
			if n := e.questions(); n != 60 {
				t.Errorf("asked %d times in an hour", n)
			}
			e.pass(time.Minute)
			e.second()
			wantErr(t, context.Cause(ctx), test.want)
		})
	}
	t.Run("revoked meanwhile", func(t *testing.T) {
		e := newEndpoint(t, Introspection{Keep: 10 * time.Minute})
		ctx, release := e.open("good")
		defer release()
		e.fails(502)
		e.pass(10 * time.Minute)
		e.second()
		wantErr(t, context.Cause(ctx), nil)
		e.fails(200)
		e.says(change{"active": false})
		e.pass(retryFetch) // and not as late as the cache would
		e.second()
		wantErr(t, context.Cause(ctx), ErrInactive)
	})
}

// TestStreamIsCutByWhatAnotherRequestHears: the answer to who comes with the same token later counts for all.
func TestStreamIsCutByWhatAnotherRequestHears(t *testing.T) {
	e := newEndpoint(t, Introspection{Keep: time.Minute})
	ctx, release := e.open("good")
	defer release()
	e.second()
	e.says(change{"active": false})
	for i := range e.x.cache.slots {
		e.x.cache.slots[i].Store(nil) // others needed the room
	}
	_, err := e.verify("good")
	wantErr(t, err, ErrInactive)
	e.x.cut(e.now())
	wantErr(t, context.Cause(ctx), ErrInactive)

	// Once it is good again, so are streams that come then.
	e.says(change{"active": true})
	e.pass(keepInactive)
	again, releaseAgain := e.open("good")
	defer releaseAgain()
	e.second()
	wantErr(t, context.Cause(again), nil)
}

// TestFloodOfTokensKeepsNoStreamAlive: who has a stream and a token that is revoked can have the endpoint busy.
func TestFloodOfTokensKeepsNoStreamAlive(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	ctx, release := e.open("good")
	defer release()
	e.says(change{"active": false})
	hold := make(chan struct{})
	e.set(func() { e.hold = hold })
	gone, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	others := &Others{Introspection: e.x}
	for n := range maxFlying {
		_, err := others.Verify(gone, fmt.Sprintf("bad%d", n), nil, "")
		wantErr(t, err, context.Canceled)
	}
	e.pass(DefaultKeep)
	e.x.cut(e.now())
	var asking sync.WaitGroup
	asking.Go(func() { e.x.source.(*introspection).askAgain(t.Context()) })
	i := e.x.source.(*introspection)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		i.mu.Lock()
		n := len(i.flying)
		i.mu.Unlock()
		if n > maxFlying {
			break
		}
		if time.Now().After(until) {
			t.Error("it is not asked about")
			break
		}
	}
	close(hold)
	asking.Wait()
	e.x.cut(e.now())
	wantErr(t, context.Cause(ctx), ErrInactive)
}

// TestManyStreamsAreAskedAboutFewAtATime, and all of them.
func TestManyStreamsAreAskedAboutFewAtATime(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	var streams []context.Context
	const many = 10 * maxAskingAgain
	for n := range many {
		ctx, release := e.open(fmt.Sprintf("good%d", n))
		defer release()
		streams = append(streams, ctx)
	}
	e.says(change{"active": false})
	hold := make(chan struct{})
	e.set(func() { e.hold = hold })
	e.pass(DefaultKeep)
	e.x.cut(e.now())
	var asking sync.WaitGroup
	asking.Go(func() { e.x.source.(*introspection).askAgain(t.Context()) })
	for until := time.Now().Add(10 * time.Second); e.questions() < many+maxAskingAgain; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("they are not asked about")
		}
	}
	if n := e.questions(); n != many+maxAskingAgain {
		t.Errorf("%d questions at a time", n-many)
	}
	close(hold)
	asking.Wait()
	e.x.cut(e.now())
	for _, ctx := range streams {
		wantErr(t, context.Cause(ctx), ErrInactive)
	}
}

// TestTokensAreKeptWhileStreamsRunOnly: memory holds no tokens but those.
func TestTokensAreKeptWhileStreamsRunOnly(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	i := e.x.source.(*introspection)
	_, short := e.open("good-short") // a look has found it, and none has looked at its token
	short()
	_, release := e.open("good")
	e.second()
	if n := len(i.running); n != 1 {
		t.Errorf("%d tokens are kept, want that of the stream", n)
	}
	release()
	e.pass(forgetRunning)
	e.second()
	if n := len(i.running); n != 0 {
		t.Errorf("%d tokens are kept with which no request runs", n)
	}
	if n := e.questions(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
