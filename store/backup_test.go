package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// backup writes a backup and returns what is in it.
func (h *house) backup() []byte {
	h.Helper()
	path := filepath.Join(h.TempDir(), "backup")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		h.Fatal(err)
	}
	defer file.Close()
	info, err := h.db.Backup(h.Context(), file)
	if err != nil {
		h.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	if lines := bytes.Count(data, []byte("\n")); lines != info.Records+2 {
		h.Errorf("%d lines for %d records", lines, info.Records)
	}
	return data
}

func from(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func (h *house) restore(data []byte) {
	h.Helper()
	if _, err := h.db.Restore(h.Context(), from(data), store.RestoreOptions{}); err != nil {
		h.Fatal(err)
	}
}

// furnish fills a database with one record of each kind.
func (h *house) furnish() {
	h.Helper()
	h.putClient(store.Client{ID: "c", Name: "Orders <sync> \u2028 é", Scopes: []string{"read"}})
	h.putClient(store.Client{ID: "a/b%!", Name: "odd"})
	h.putUser(store.User{ID: "u", Name: "Ann", Email: "ann@example.com"})
	h.putUser(store.User{ID: "far", Name: "Bob", Source: "http", External: "7/8"})
	h.putToken("t", "c", "u")
	h.putFamily("f", "c", "u", "refresh-one")
	h.update(func(r *store.Records) error {
		return errors.Join(
			r.PutConsent(&store.Consent{UserID: "u", ClientID: "c", Scopes: []string{"read"}}),
			r.PutKey(&store.Key{ID: "k", State: store.KeyCurrent, Private: []byte{1, 2}, LongestToken: time.Hour}),
			r.PutCode("code", &store.Code{ID: "x", ClientID: "c", UserID: "u", ExpiresAt: h.now.Add(time.Minute)}),
			r.PutToken(&store.Token{ID: "pat", ClientID: "personal_access", UserID: "u", Personal: true,
				Hash: store.HashSecret("pat"), ExpiresAt: h.now.Add(time.Hour)}),
		)
	})
}

// contents are the pairs of an engine by their keys, without the epoch and what a restore adds.
func (h *house) contents() map[string]string {
	h.Helper()
	pairs := make(map[string]string)
	err := h.engine.View(h.Context(), func(tx store.Tx) error {
		return tx.Scan(nil, nil, func(key, value []byte) error {
			name := string(key)
			if strings.Contains(name, "/revoked/") || strings.HasSuffix(name, "/epoch") {
				return nil
			}
			if at := strings.IndexByte(name, '!'); at >= 0 {
				name = name[:at] + name[strings.IndexByte(name, '/'):]
			}
			pairs[name] = string(value)
			return nil
		})
	})
	if err != nil {
		h.Fatal(err)
	}
	return pairs
}

// TestBackupMovesAnIssuer restores a backup into an empty database on another engine: pair by pair what was there.
func TestBackupMovesAnIssuer(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	other := newHouse(t)
	other.restore(data)
	want, got := h.contents(), other.contents()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
		delete(got, key)
	}
	for key := range got {
		t.Errorf("%s was not there", key)
	}
	if !bytes.Equal(withoutTime(other.backup()), withoutTime(data)) {
		t.Error("a backup of what was restored differs")
	}
	other.wantLogin("ann@example.com", "u")
	other.wantRotate("refresh-one", store.Rotated)
}

// withoutTime is a backup without its first and last line, and without the revocations that tell of other keys.
func withoutTime(backup []byte) []byte {
	lines := bytes.Split(backup, []byte("\n"))
	lines = slices.DeleteFunc(lines[1:len(lines)-2], func(line []byte) bool {
		return bytes.HasPrefix(line, []byte(`{"kind":"revoked"`))
	})
	return bytes.Join(lines, []byte("\n"))
}

func TestRestoreReplacesWhatIsThere(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	h.pass(time.Minute)
	c := h.client("c")
	c.Name = "renamed"
	h.putClient(*c)
	h.putClient(store.Client{ID: "since"})
	h.putUser(store.User{ID: "since", Name: "Cid"})
	ofSince, ofC := h.putToken("t-since", "since", ""), h.putToken("t-c", "c", "")
	ofUser := h.putToken("t-user", "c", "since")
	h.pass(time.Minute)
	h.restore(data)
	h.want("clients", h.clients(""), "a/b%!", "c")
	if got := h.client("c").Name; got != "Orders <sync> \u2028 é" {
		t.Errorf("the client is called %q", got)
	}
	h.wantLogin("cid", "nobody")
	h.wantLogin("ann", "u")
	h.wantRevoked(ofSince, true)
	h.wantRevoked(ofUser, true)
	h.wantRevoked(ofC, false)
	h.want("tokens", h.tokens(""), "pat", "t", "t-c", "t-since", "t-user") // they can be listed and revoked
	h.update(func(r *store.Records) error { return r.RevokeToken("t-c") })

	h.restore(data) // from one epoch to the next
	h.wantRevoked(ofC, true)
	h.want("clients", h.clients(""), "a/b%!", "c")
	for _, key := range h.keys() {
		if !strings.HasPrefix(key, "default!2/") && key != "default/epoch" {
			t.Errorf("the restore has left %s", key)
		}
	}
	again := h.open("default")
	again.Close()
	if got := h.client("c").Name; got == "renamed" {
		t.Errorf("after a restart the client is called %q", got)
	}
}

// TestRestoreOfAnotherIssuer has to be asked for.
func TestRestoreOfAnotherIssuer(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	other := newHouse(t)
	other.db = other.open("partners")
	before := other.contents()
	for _, options := range []store.RestoreOptions{{}, {Issuer: "partners"}, {Issuer: "third"}} {
		_, err := other.db.Restore(t.Context(), from(data), options)
		if e, ok := errors.AsType[*store.OtherIssuerError](err); !ok || e.Of != "default" {
			t.Errorf("%+v: %v", options, err)
		}
	}
	if got := other.contents(); !maps.Equal(got, before) {
		t.Errorf("there is now %q", got)
	}
	if _, err := other.db.Restore(t.Context(), from(data), store.RestoreOptions{Issuer: "default"}); err != nil {
		t.Fatal(err)
	}
	other.wantLogin("ann@example.com", "u")
}

// TestRestoreLetsNothingSpentComeAlive uses, revokes and disables, and restores a backup from before.
func TestRestoreLetsNothingSpentComeAlive(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	h.putFamily("g", "c", "u", "refresh-two")
	data := h.backup()
	h.pass(10 * time.Second)
	next := h.wantRotate("refresh-one", store.Rotated)
	h.wantRotate(next, store.Rotated)
	h.update(func(r *store.Records) error {
		c, err := r.Code("code")
		g, err2 := r.Family("g")
		return errors.Join(err, err2, r.RevokeToken("t"), r.RevokeToken("pat"), r.UseCode("code", c, "f"),
			r.RevokeFamily(g))
	})
	killed := h.putToken("killed", "a/b%!", "")
	h.putClient(store.Client{ID: "a/b%!", Disabled: true})
	h.restore(data)

	h.wantRevoked(&store.Token{ID: "t"}, true)
	h.wantRevoked(killed, true)
	if h.client("a/b%!").Disabled || !h.client("a/b%!").TokensNotBefore.Equal(h.now) {
		t.Errorf("the client: %s", dump(h.client("a/b%!")))
	}
	h.wantRotate("refresh-one", store.Reused)
	_, _, err := h.rotate("refresh-two")
	h.wantError("a revoked family", err, store.ErrNotFound)
	h.view(func(r *store.Records) error {
		c, err := r.Code("code")
		if err != nil || c.UsedAt.IsZero() {
			t.Errorf("the code is alive: %s, %v", dump(c), err)
		}
		p, err := r.PersonalToken(store.HashSecret("pat"))
		if err != nil || p.RevokedAt.IsZero() {
			t.Errorf("the personal token is alive: %s, %v", dump(p), err)
		}
		return nil
	})
	again := h.open("default")
	for _, ref := range []store.TokenRef{{TokenID: "t"}, {TokenID: "pat"}, {TokenID: "x", FamilyID: "g"}} {
		if !again.Revocations().Revoked(ref) {
			t.Errorf("after a restart %+v is alive", ref)
		}
	}
}

// TestRestoreLetsNothingOfTheDeletedComeAlive deletes a person and a client, and restores a backup that has them.
func TestRestoreLetsNothingOfTheDeletedComeAlive(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	h.pass(time.Minute)
	deleted := h.now
	h.update(func(r *store.Records) error { return errors.Join(r.DeleteUser("u"), r.DeleteClient("c")) })
	h.pass(3 * time.Hour) // the revocations are forgotten, what was given is not over
	for range 2 {
		h.restore(data)
		h.view(func(r *store.Records) error {
			u, err := r.User("u")
			if err != nil || u.Stands(deleted) || !u.Stands(deleted.Add(1)) {
				t.Errorf("what the person was given stands: %s, %v", dump(u), err)
			}
			return nil
		})
		if c := h.client("c"); !c.TokensNotBefore.Equal(deleted) {
			t.Errorf("the client: %s", dump(c))
		}
		data = h.backup() // which has it as well
		h.pass(time.Minute)
	}
}

// TestRestoreKeepsKeysThatTokensNeed rotates since the backup.
func TestRestoreKeepsKeysThatTokensNeed(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	h.update(func(r *store.Records) error {
		return errors.Join(
			r.PutKey(&store.Key{ID: "k", State: store.KeyRetired, ExpiresAt: h.now.Add(time.Hour)}),
			r.PutKey(&store.Key{ID: "k2", State: store.KeyCurrent, LongestToken: 48 * time.Hour}))
	})
	generation := h.db.Revocations().KeyGeneration()
	h.restore(data)
	if h.db.Revocations().KeyGeneration() == generation {
		t.Error("nobody is told that there are other keys")
	}
	h.view(func(r *store.Records) error {
		keys, err := r.Keys()
		if len(keys) != 2 || keys[0].State != store.KeyCurrent || keys[1].State != store.KeyRetired ||
			!keys[1].ExpiresAt.Equal(h.now.Add(48*time.Hour+time.Minute)) {
			t.Errorf("%s", dump(keys))
		}
		return err
	})
}

// TestDamagedBackupsReplaceNothing restores backups that are not what was written.
func TestDamagedBackupsReplaceNothing(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := string(h.backup())
	lines := strings.SplitAfter(data, "\n")
	client := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `{"kind":"client"`) })
	token := lines[slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `{"kind":"token","id":"t"`) })]
	without := strings.Join(slices.Delete(slices.Clone(lines), client, client+1), "")
	// signed makes an end that fits
	signed := func(first string, rest ...string) string {
		text := first + strings.Join(rest, "")
		sum := sha256.Sum256([]byte(text))
		return text + fmt.Sprintf(`{"kind":"end","records":%d,"sha256":"%s"}`+"\n", len(rest), hex.EncodeToString(sum[:]))
	}
	header := lines[0]
	otherClient := `{"kind":"client","id":"z","record":{"id":"z"}}` + "\n"
	for name, c := range map[string]struct{ backup, want string }{
		"empty":                  {"", "no backup"},
		"another file":           {"{}\n", "no backup"},
		"cut in a line":          {data[:len(data)/2], "line"},
		"cut after a line":       {strings.Join(lines[:3], ""), "cut short"},
		"a record less":          {without, "damaged"},
		"a byte changed":         {strings.Replace(data, "Orders", "orders", 1), "damaged"},
		"something behind":       {data + "x\n", "damaged"},
		"newer format":           {signed(strings.Replace(header, `"version":1`, `"version":2`, 1)), "newer"},
		"newer records":          {signed(strings.Replace(header, `"schema":2`, `"schema":3`, 1)), "newer"},
		"unknown kind":           {signed(header, `{"kind":"x","id":"a","record":{}}`+"\n"), `"x"`},
		"damaged record":         {signed(header, `{"kind":"client","id":"a","record":{"id":1}}`+"\n"), `client "a"`},
		"a record under another": {signed(header, `{"kind":"client","id":"a","record":{"id":"b"}}`+"\n"), `client "a"`},
		"another's token":        {signed(header, strings.Replace(token, `"user_id":"u"`, `"user_id":"far"`, 1)), "another's"},
		"a record twice":         {signed(header, lines[client], lines[client]), "twice"},
		"kinds in pieces":        {signed(header, lines[client], token, otherClient), "twice"},
		"a record without ID":    {signed(header, `{"kind":"client","id":"","record":{"id":""}}`+"\n"), `client ""`},
	} {
		t.Run(name, func(t *testing.T) {
			before := h.contents()
			_, err := h.db.Restore(t.Context(), from([]byte(c.backup)), store.RestoreOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
			if got := h.contents(); fmt.Sprint(got) != fmt.Sprint(before) {
				t.Errorf("something has changed: %v, want %v", got, before)
			}
			h.putClient(store.Client{ID: "a/b%!", Name: "odd", CreatedAt: start}) // writing works
		})
	}
}

// shared is an engine that other nodes write to.
type shared struct{ *storetest.Engine }

func (shared) Shared() bool { return true }

// TestNodesSeeARestoredBackup restores on one node while others run.
func TestNodesSeeARestoredBackup(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	data := h.backup()
	engine := shared{new(storetest.Engine)}
	open := func() *store.DB {
		db, err := store.Open(t.Context(), engine, "default", func() time.Time { return start })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	one, two := open(), open()
	err := two.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: "gone"}) })
	if err != nil {
		t.Fatal(err)
	}
	clients := func(db *store.DB) (ids []string) {
		err := db.View(t.Context(), func(r *store.Records) error {
			return r.Clients("", func(c store.Client) error {
				ids = append(ids, c.ID)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	var during error
	read := 0
	_, err = one.Restore(t.Context(), func() (io.ReadCloser, error) {
		if read++; read == 2 { // nothing but the restore writes
			during = two.Update(t.Context(), func(r *store.Records) error { return r.DeleteClient("gone") })
			if got := clients(two); !slices.Equal(got, []string{"gone"}) {
				t.Errorf("while it is restored: %q", got)
			}
		}
		return from(data)()
	}, store.RestoreOptions{})
	if err != nil || !errors.Is(during, store.ErrUnavailable) {
		t.Fatalf("restoring: %v; an update meanwhile: %v", err, during)
	}
	// What the other node writes belongs to what was restored, even before it has seen it.
	err = two.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: "new"}) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/b%!", "c", "new"}
	if got := clients(one); !slices.Equal(got, want) {
		t.Errorf("on the node that restores: %q", got)
	}
	for deadline := time.Now().Add(30 * time.Second); !slices.Equal(clients(two), want); {
		if time.Now().After(deadline) {
			t.Fatalf("on the other node: %q", clients(two))
		}
		time.Sleep(time.Millisecond)
	}
	if !two.Revocations().Revoked(store.TokenRef{ClientID: "gone", IssuedAt: start}) {
		t.Error("the other node takes tokens of a client that the backup does not have")
	}
}

// TestOldDatabasesAreMigrated opens one of version 1.
func TestOldDatabasesAreMigrated(t *testing.T) {
	h := newHouse(t)
	h.putClient(store.Client{ID: "c"})
	set := func(version string) {
		t.Helper()
		err := h.engine.Update(t.Context(), func(tx store.Tx) error {
			return tx.Put([]byte("default/schema"), []byte(version), 0)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(`{"version":1}`)
	// There was no index of the clients that people have registered.
	err := h.engine.Update(t.Context(), func(tx store.Tx) error {
		return tx.Put([]byte("default/client/own"), []byte(`{"id":"own","user_id":"ann"}`), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	h.db = h.open("default")
	h.want("clients", h.clients(""), "c", "own")
	h.want("clients of ann", ids(h, func(r *store.Records, fn func(store.Client) error) error {
		return r.ClientsOfUser("ann", fn)
	}, func(c store.Client) string { return c.ID }), "own")
	if got := h.contents()["default/schema"]; got != `{"version":2}` {
		t.Errorf("the schema is %s", got)
	}
	set(`{"version":3}`)
	_, err = store.Open(t.Context(), h.engine, "default", nil)
	if err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer database: %v", err)
	}
}

// TestDeadRestoreLetsOthersWriteAgain is a node that dies while it restores.
func TestDeadRestoreLetsOthersWriteAgain(t *testing.T) {
	h := newHouse(t)
	engine := shared{h.engine}
	err := h.engine.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.Put([]byte("default/epoch"), []byte(`{"epoch":0,"restore":"x","until":"2026-03-04T05:06:08Z"}`), 0),
			tx.Put([]byte("default!1/client/left"), []byte(`{"id":"left"}`), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64 // the database looks at the clock by itself
	db, err := store.Open(t.Context(), engine, "default", func() time.Time { return start.Add(time.Duration(passed.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func() error {
		return db.Update(t.Context(), func(r *store.Records) error { return r.PutClient(&store.Client{ID: "c"}) })
	}
	h.wantError("an update while it may run", put(), store.ErrUnavailable)
	_, err = db.Restore(t.Context(), from(newHouse(t).backup()), store.RestoreOptions{})
	h.wantError("another restore while it may run", err, store.ErrRestoring)
	passed.Store(int64(time.Minute + time.Second)) // clocks may differ by a minute
	if err := put(); err != nil {
		t.Errorf("an update when it is over: %v", err)
	}
	err = h.engine.View(t.Context(), func(tx store.Tx) error {
		value, err := tx.Get([]byte("default/epoch"))
		if strings.Contains(string(value), "restore") { // a last commit of it that is late would meet nothing
			t.Errorf("the epoch is %s", value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err = db.Restore(t.Context(), from(newHouse(t).backup()), store.RestoreOptions{}); err != nil {
		t.Errorf("another restore when it is over: %v", err)
	}
	for _, key := range h.keys() {
		if strings.Contains(key, "left") {
			t.Errorf("the dead restore has left %s", key)
		}
	}
}
