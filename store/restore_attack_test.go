package store_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// openAs opens the records of the usual issuer on an engine, with a clock that is ahead.
func openAs(t *testing.T, e store.Engine, ahead time.Duration) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), e, "default", func() time.Time { return start.Add(ahead) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// clientsOf are how many clients there are for whoever starts now.
func clientsOf(t *testing.T, e store.Engine) (n int) {
	t.Helper()
	err := openAs(t, e, 0).View(t.Context(), func(r *store.Records) error {
		n = 0
		return r.Clients("", func(store.Client) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lostAnswer is an engine that loses the answer to the commit which puts a restored epoch in force.
type lostAnswer struct {
	*storetest.Engine
	shared bool
	after  int32        // so many updates fail after it
	down   atomic.Int32 // of which so many are left
}

// epochTx tells whether a transaction puts an epoch in force.
type epochTx struct {
	store.Tx
	inForce *bool
}

func (t epochTx) Put(key, value []byte, ttl time.Duration) error {
	if string(key) == "default/epoch" && !strings.Contains(string(value), "restore") {
		*t.inForce = true
	}
	return t.Tx.Put(key, value, ttl)
}

func (e *lostAnswer) Shared() bool { return e.shared }

func (e *lostAnswer) Update(ctx context.Context, fn func(store.Tx) error) error {
	if e.down.Add(-1) >= 0 {
		return store.ErrUnavailable
	}
	lost := false
	err := e.Engine.Update(ctx, func(tx store.Tx) error { return fn(epochTx{tx, &lost}) })
	if err == nil && lost {
		e.down.Store(e.after)
		return store.ErrUnavailable // it is committed
	}
	return err
}

// TestRestoreWhoseLastAnswerIsLostIsInForce: what has been restored is not deleted, and a node that is alone does not go
// on in what was there before.
func TestRestoreWhoseLastAnswerIsLostIsInForce(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	for _, of := range []struct {
		shared bool
		down   int32
	}{{false, 0}, {true, 0}, {false, 1}, {true, 1}} {
		shared, down := of.shared, of.down
		mem := new(storetest.Engine)
		db := openAs(t, &lostAnswer{Engine: mem, shared: shared, after: down}, 0)
		// Where the storage is not there when it is asked what has become of it, it is not known either.
		_, err := db.Restore(t.Context(), from(data), store.RestoreOptions{})
		if down > 0 && !errors.Is(err, store.ErrUnavailable) || down == 0 && err != nil {
			t.Errorf("restore: %v", err)
		}
		if n := clientsOf(t, mem); n != 2 {
			t.Errorf("shared: %v: %d clients", shared, n)
		}
		put := func() error {
			return db.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: "new"}) })
		}
		for deadline := time.Now().Add(time.Minute); put() != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody can write any more")
			}
		}
		if n := clientsOf(t, mem); n != 3 {
			t.Errorf("shared: %v: what was written after it is lost", shared)
		}
	}
}

// TestRestoreThatGivesUpLeavesAnothersAlone: one stands still for longer than its lease, while another one runs.
func TestRestoreThatGivesUpLeavesAnothersAlone(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	mem := new(storetest.Engine)
	one, two := openAs(t, shared{mem}, 0), openAs(t, shared{mem}, 2*time.Minute)
	reads := 0
	var other error
	_, err := one.Restore(t.Context(), func() (io.ReadCloser, error) {
		if reads++; reads == 2 {
			_, other = two.Restore(t.Context(), from(data), store.RestoreOptions{})
		}
		return from(data)()
	}, store.RestoreOptions{})
	if !errors.Is(err, store.ErrRestoring) || other != nil {
		t.Errorf("one: %v, the other: %v", err, other)
	}
	if n := clientsOf(t, mem); n != 2 {
		t.Errorf("%d clients", n)
	}
}

// lateNews is a shared engine of a node that hears of a restore while it writes.
type lateNews struct {
	*storetest.Engine
	deaf atomic.Bool            // it reads nothing
	hold atomic.Pointer[func()] // called once an update has read the epoch
}

func (*lateNews) Shared() bool { return true }

func (e *lateNews) View(ctx context.Context, fn func(store.Tx) error) error {
	if e.deaf.Load() {
		return store.ErrUnavailable
	}
	return e.Engine.View(ctx, fn)
}

func (e *lateNews) Update(ctx context.Context, fn func(store.Tx) error) error {
	return e.Engine.Update(ctx, func(tx store.Tx) error { return fn(heldTx{tx, e}) })
}

type heldTx struct {
	store.Tx
	e *lateNews
}

func (t heldTx) Get(key []byte) ([]byte, error) {
	value, err := t.Tx.Get(key)
	if string(key) == "default/epoch" {
		if fn := t.e.hold.Swap(nil); fn != nil {
			(*fn)()
		}
	}
	return value, err
}

// TestRevocationIsWrittenIntoTheEpochInForce: the node learns of the restore between two steps of its update.
func TestRevocationIsWrittenIntoTheEpochInForce(t *testing.T) {
	h := newHouse(t)
	h.putToken("t", "c", "")
	mem := new(storetest.Engine)
	late := &lateNews{Engine: mem}
	one, two := openAs(t, shared{mem}, 0), openAs(t, late, 0)
	late.deaf.Store(true)
	if _, err := one.Restore(t.Context(), from(h.backup()), store.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	learn := func() {
		late.deaf.Store(false)
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			err := two.View(t.Context(), func(r *store.Records) error { _, err := r.Token("t"); return err })
			if err == nil {
				return
			}
		}
		t.Error("the node does not learn of the restore")
	}
	late.hold.Store(&learn)
	err := two.Update(t.Context(), func(r *store.Records) error { return r.RevokeToken("t") })
	if err != nil {
		t.Fatal(err)
	}
	if !isRevoked(openAs(t, shared{mem}, 0), "t") {
		t.Error("the revocation was answered with success, and nobody who starts now knows of it")
	}
}

// TestNodeWhoseClockIsAheadWaitsForARestore, or what it writes would be lost.
func TestNodeWhoseClockIsAheadWaitsForARestore(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	mem := new(storetest.Engine)
	one, two := openAs(t, shared{mem}, 0), openAs(t, shared{mem}, 59*time.Second)
	var during error
	_, err := one.Restore(t.Context(), func() (io.ReadCloser, error) {
		during = two.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: "new"}) })
		return from(data)()
	}, store.RestoreOptions{})
	if err != nil || !errors.Is(during, store.ErrUnavailable) {
		t.Errorf("restore: %v; during it: %v", err, during)
	}
}

// stalling is a shared engine that calls something once the last revocations have been carried over.
type stalling struct {
	*storetest.Engine
	stall atomic.Pointer[func()]
}

func (*stalling) Shared() bool { return true }

func (e *stalling) Update(ctx context.Context, fn func(store.Tx) error) error {
	last := false
	err := e.Engine.Update(ctx, func(tx store.Tx) error { return fn(watchTx{tx, &last}) })
	if last {
		if fn := e.stall.Swap(nil); fn != nil {
			(*fn)()
		}
	}
	return err
}

type watchTx struct {
	store.Tx
	last *bool
}

func (t watchTx) Scan(prefix, from []byte, fn func(k, v []byte) error) error {
	*t.last = *t.last || strings.HasSuffix(string(prefix), "/revoked/")
	return t.Tx.Scan(prefix, from, fn)
}

// TestRestoreThatLostItsLeaseGivesUp: others have written since it stood still.
func TestRestoreThatLostItsLeaseGivesUp(t *testing.T) {
	h := newHouse(t)
	h.putToken("t", "c", "")
	data := h.backup()
	mem := new(storetest.Engine)
	engine := &stalling{Engine: mem}
	var passed atomic.Int64
	one, err := store.Open(t.Context(), engine, "default", func() time.Time {
		return start.Add(time.Duration(passed.Load()))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if _, err := one.Restore(t.Context(), from(data), store.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	two := openAs(t, shared{mem}, 2*time.Minute)
	during := errors.New("it was not tried")
	late := func() {
		passed.Store(int64(2 * time.Minute))
		during = two.Update(t.Context(), func(r *store.Records) error { return r.RevokeToken("t") })
	}
	engine.stall.Store(&late)
	_, err = one.Restore(t.Context(), from(data), store.RestoreOptions{})
	if !errors.Is(err, store.ErrRestoring) || during != nil || !isRevoked(openAs(t, shared{mem}, 0), "t") {
		t.Errorf("restore: %v; the revocation: %v; or it is lost", err, during)
	}
}

// TestRestoreBringsNoLeakedKeyBack, however long ago it was retired.
func TestRestoreBringsNoLeakedKeyBack(t *testing.T) {
	h := newHouse(t)
	h.update(func(r *store.Records) error {
		return r.PutKey(&store.Key{ID: "leaked", State: store.KeyCurrent, CreatedAt: h.now})
	})
	data := h.backup()
	h.pass(time.Minute)
	h.update(func(r *store.Records) error {
		return errors.Join(r.DeleteKey("leaked"), r.PutKey(&store.Key{ID: "new", State: store.KeyCurrent}))
	})
	h.pass(1000 * 24 * time.Hour)
	h.restore(data)
	h.view(func(r *store.Records) error {
		keys, err := r.Keys()
		for _, k := range keys {
			if k.ID == "leaked" {
				t.Errorf("it is there again, and %s", k.State)
			}
		}
		return err
	})
}

// TestRevokedWhileTheMachineWasSuspended: its monotonic clock stands still then, and its wall clock is set right after.
func TestRevokedWhileTheMachineWasSuspended(t *testing.T) {
	var jump atomic.Int64 // seconds
	now := func() time.Time {
		at := time.Now()
		*(*uint64)(unsafe.Pointer(&at)) += uint64(jump.Load()) << 30 // of the wall clock alone: Go has no other way
		return at
	}
	mem := new(storetest.Engine)
	open := func(e store.Engine) *store.DB {
		db, err := store.Open(t.Context(), e, "default", now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	suspended := &link{Engine: mem}
	a, b := open(&link{Engine: mem}), open(suspended)
	seen := func(id string) {
		for deadline := time.Now().Add(time.Minute); !isRevoked(b, id); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is good; the node is %v behind", id, b.Behind(b.Now()))
			}
		}
	}
	revokeOn(t, a, "before")
	seen("before")
	suspended.cut.Store(true)
	revokeOn(t, a, "meanwhile")
	jump.Store(600)
	suspended.cut.Store(false)
	seen("meanwhile")
}

// TestRestoreForgetsNoDisconnect, or a code from before could be redeemed.
func TestRestoreForgetsNoDisconnect(t *testing.T) {
	h := newHouse(t)
	data := h.backup()
	h.update(func(r *store.Records) error {
		return r.PutCode("code", &store.Code{ID: "x", ClientID: "c", UserID: "u", ExpiresAt: h.now.Add(10 * time.Minute)})
	})
	h.pass(time.Second)
	h.update(func(r *store.Records) error { _, err := r.Disconnect("u", "c"); return err })
	h.pass(time.Second)
	h.restore(data)
	h.view(func(r *store.Records) error {
		c, err := r.Code("code")
		at, err2 := r.Disconnected("u", "c")
		if err == nil && c.UsedAt.IsZero() && c.ExpiresAt.After(h.now) && at.IsZero() {
			t.Error("the code stands, and nobody knows that the person has disconnected the client")
		}
		return err2
	})
}

// clearing is a shared engine whose restore fails at its end, and which calls something once the restore has been given
// up.
type clearing struct {
	*storetest.Engine
	failed, released bool
	other            func()
}

func (*clearing) Shared() bool { return true }

func (e *clearing) Update(ctx context.Context, fn func(store.Tx) error) error {
	if other := e.other; e.released && other != nil {
		e.other = nil
		other()
	}
	released := false
	err := e.Engine.Update(ctx, func(tx store.Tx) error {
		if err := fn(epochTx{tx, &released}); err != nil || !released || e.failed {
			return err
		}
		e.failed = true
		return errors.New("the caller has gone")
	})
	e.released = e.released || err == nil && released
	return err
}

// TestRestoreThatFailsLeavesTheNextAlone: another node restores as soon as it may.
func TestRestoreThatFailsLeavesTheNextAlone(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	mem := new(storetest.Engine)
	engine := &clearing{Engine: mem}
	one, two := openAs(t, engine, 0), openAs(t, shared{mem}, 0)
	other := func() {
		if _, err := two.Restore(t.Context(), from(data), store.RestoreOptions{}); err != nil {
			t.Errorf("the other restore: %v", err)
		}
	}
	engine.other = other
	if _, err := one.Restore(t.Context(), from(data), store.RestoreOptions{}); err == nil {
		t.Error("a restore that failed was answered with success")
	}
	if engine.other != nil { // nothing was to be done once it was given up
		other()
	}
	if n := clientsOf(t, mem); n != 2 {
		t.Errorf("%d clients", n)
	}
}

// deafOnce is a shared engine that fails once, when the restored revocations are read.
type deafOnce struct {
	*storetest.Engine
	restored, failed atomic.Bool
}

func (*deafOnce) Shared() bool { return true }

func (e *deafOnce) View(ctx context.Context, fn func(store.Tx) error) error {
	if e.restored.Load() && !e.failed.Swap(true) {
		return store.ErrUnavailable
	}
	return e.Engine.View(ctx, func(tx store.Tx) error { return fn(readTx{tx, e}) })
}

type readTx struct {
	store.Tx
	e *deafOnce
}

func (t readTx) Get(key []byte) ([]byte, error) {
	value, err := t.Tx.Get(key)
	if string(key) == "default/epoch" && strings.HasPrefix(string(value), `{"epoch":1`) {
		t.e.restored.Store(true)
	}
	return value, err
}

// TestNodeKnowsWhatIsRevokedInABackup, and goes on asking where the storage does not answer.
func TestNodeKnowsWhatIsRevokedInABackup(t *testing.T) {
	h := newHouse(t)
	h.putToken("t", "c", "")
	h.update(func(r *store.Records) error { return r.RevokeToken("t") })
	data := h.backup()
	mem := new(storetest.Engine)
	engine := &deafOnce{Engine: mem}
	const later = 10 * time.Minute // so that it is not among what was revoked lately
	one, two := openAs(t, shared{mem}, later), openAs(t, engine, later)
	if _, err := one.Restore(t.Context(), from(data), store.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !isRevoked(two, "t"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node takes a revoked token")
		}
	}
	if !engine.failed.Load() {
		t.Error("the storage has always answered")
	}
}

// goneCaller is a shared engine whose caller is gone as soon as a restored epoch is in force.
type goneCaller struct {
	*storetest.Engine
	inForce bool
	cancel  func()
}

func (*goneCaller) Shared() bool { return true }

func (e *goneCaller) Update(ctx context.Context, fn func(store.Tx) error) error {
	return e.Engine.Update(ctx, func(tx store.Tx) error { return fn(epochTx{tx, &e.inForce}) })
}

// View fails for who is gone, as those of real engines do.
func (e *goneCaller) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := e.Engine.View(ctx, fn)
	if e.inForce {
		e.cancel()
	}
	return err
}

// TestRestoreLeavesNothingOfWhatWasThere, keys and hashes of passwords least of all, also where it ended before its time.
func TestRestoreLeavesNothingOfWhatWasThere(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	mem := new(storetest.Engine)
	ctx, cancel := context.WithCancel(t.Context())
	engine := &goneCaller{Engine: mem, cancel: cancel}
	restore := func(ctx context.Context, e store.Engine) {
		t.Helper()
		db, err := store.Open(t.Context(), e, "default", func() time.Time { return start })
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Restore(ctx, from(data), store.RestoreOptions{}); err != nil {
			t.Error(err)
		}
	}
	left := func(prefix string) (n int) {
		err := mem.View(t.Context(), func(tx store.Tx) error {
			return tx.Scan([]byte(prefix), nil, func(key, _ []byte) error {
				if string(key) != "default/epoch" {
					n++
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	restore(ctx, engine)
	if n := left("default/"); n > 0 {
		t.Errorf("%d records of before are there", n)
	}
	// What a process left that was killed before it could remove it.
	err := mem.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("default/key/old"), []byte("{}"), 0) })
	if err != nil {
		t.Fatal(err)
	}
	restore(t.Context(), mem)
	if n := left("default/") + left("default!1/"); n > 0 {
		t.Errorf("after another restore %d records of before are there", n)
	}
}

// TestBackupReplacedWhileItIsRead: what is restored is what has been checked.
func TestBackupReplacedWhileItIsRead(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	h.putClient(store.Client{ID: "another"})
	other := h.backup()
	before := h.contents()
	reads := 0
	_, err := h.db.Restore(t.Context(), func() (io.ReadCloser, error) {
		if reads++; reads == 1 {
			return from(data)()
		}
		return from(other)()
	}, store.RestoreOptions{})
	if err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("got %v", err)
	}
	if after := h.contents(); !maps.Equal(before, after) {
		t.Errorf("there is now %q", after)
	}
}
