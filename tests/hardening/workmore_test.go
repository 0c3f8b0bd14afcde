package hardening

import (
	"context"
	crypto "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/store"
)

// workSessions signs in twice, and out once.
func (h *house) workSessions(say say) error {
	who := oneOf(signer)
	live, err := h.signIn(who, password)
	if err != nil {
		return err
	}
	say("session", live)
	dead, err := h.signIn(who, password)
	if err != nil {
		return err
	}
	say("session", dead)
	say("ending", dead)
	if _, err := h.submit("/oauth/logout", dead); err != nil {
		return err
	}
	say("no-session", dead)
	return nil
}

// devices has devices wait, allows some of them, and lets some of those have what they may.
func devices() job { return asOne(coder, (*house).workDevices) }

func (h *house) workDevices(session string, say say) error {
	body, err := h.post("/oauth/device/code", "tv", secret, "scope", "read")
	if err != nil {
		return err
	}
	var device struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
	}
	if err := json.Unmarshal(body, &device); err != nil {
		return err
	}
	say("device", device.Code)
	upTo := rand.IntN(3)
	if upTo == 0 {
		return nil
	}
	say("ending", device.Code)
	if _, err := h.submit("/oauth/device", session, "user_code", device.UserCode, "decision", "approve"); err != nil {
		return err
	}
	say("approved", device.Code)
	if upTo == 1 {
		return nil
	}
	say("ending", device.Code)
	answer, err := h.redeemDevice(device.Code)
	if err != nil {
		return err
	}
	say("spent-device", device.Code)
	say("live-once", answer.Access)
	return nil
}

// workConsent allows an app something, and takes it back: what the app was given then ends.
func (h *house) workConsent(say say) error {
	session, err := h.signIn(dee, password)
	if err != nil {
		return err
	}
	for range 5 {
		if err := h.connectAndDisconnect(session, say); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) connectAndDisconnect(session string, say say) error {
	say("consent", "unknown", session)
	answer, err := h.connect("shop", session)
	if err != nil {
		return err
	}
	say("live-once", answer.Access)
	unused, err := h.authorize("shop", session)
	if err != nil {
		return err
	}
	say("consent", "given", session)
	say("ending", answer.Access)
	say("consent", "unknown", session)
	if _, err := h.submit("/oauth/account", session, "action", "disconnect", "client_id", "shop"); err != nil {
		return err
	}
	say("consent", "taken-back", session)
	say("dead", answer.Access)
	say("dead-refresh", answer.Refresh)
	say("dead-code", unused)
	return nil
}

// workBarred disables somebody, which ends what was given, and enables half of those again.
func (h *house) workBarred(say say) error {
	ctx := context.Background()
	who := oneOf(barred)
	disable := func(yes bool) error {
		_, err := h.issuer.UpdateUser(ctx, who, issuer.UserChange{Disabled: &yes})
		return err
	}
	say("person-is", who, "unknown")
	if err := disable(false); err != nil {
		return err
	}
	if err := h.forgive(who); err != nil {
		return err
	}
	session, err := h.signIn(who, password)
	if err != nil {
		return err
	}
	say("session", session)
	answer, err := h.connect("app", session)
	if err != nil {
		return err
	}
	say("live-once", answer.Access)
	say("ending", session)
	say("ending", answer.Access)
	if err := disable(true); err != nil {
		return err
	}
	say("person-is", who, "disabled")
	if rand.IntN(2) == 0 {
		say("person-is", who, "unknown")
		if err := disable(false); err != nil {
			return err
		}
		say("person-is", who, "enabled")
	}
	say("no-session", session)
	say("dead", answer.Access)
	say("dead-refresh", answer.Refresh)
	return nil
}

// workSecrets gives a client another name and another secret, and disables it.
func (h *house) workSecrets(say say) error {
	ctx := context.Background()
	info, old, err := h.issuer.CreateClient(ctx, store.Client{Name: "old", Grants: []string{"client_credentials"}})
	if err != nil {
		return err
	}
	say("client", info.ID, old)
	name := store.NewID(time.Now())
	if _, err := h.issuer.UpdateClient(ctx, info.ID, issuer.ClientChange{Name: &name}); err != nil {
		return err
	}
	say("client-name", info.ID, name)
	say("ending", info.ID)
	_, secret, err := h.issuer.RotateSecret(ctx, info.ID)
	if err != nil {
		return err
	}
	say("client", info.ID, secret)
	say("no-client", info.ID, old)
	token, err := h.clientToken(info.ID, secret)
	if err != nil {
		return err
	}
	if say("live", token); rand.IntN(2) == 0 {
		return nil
	}
	say("ending", token)
	say("ending", info.ID)
	disabled := true
	if _, err := h.issuer.UpdateClient(ctx, info.ID, issuer.ClientChange{Disabled: &disabled}); err != nil {
		return err
	}
	say("dead", token)
	say("no-client", info.ID, secret)
	return nil
}

// workPassword gives somebody another password, as the operator and then as the person.
func (h *house) workPassword(say say) error {
	ctx := context.Background()
	const pat = "pat"
	first, second := crypto.Text(), crypto.Text()
	say("password", "unknown")
	_, _, err := h.issuer.SetPassword(ctx, pat, first)
	if errors.Is(err, issuer.ErrUnknownUser) {
		_, _, err = h.issuer.CreateUser(ctx, issuer.NewUser{Name: pat, Password: first})
	}
	if err != nil {
		return err
	}
	say("password", first)
	session, err := h.signIn(pat, first)
	if err != nil {
		return err
	}
	answer, err := h.connect("app", session)
	if err != nil {
		return err
	}
	say("session", session)
	say("live-once", answer.Access)
	say("ending", session)
	say("ending", answer.Access)
	say("password", "unknown")
	_, err = h.submit("/oauth/account", session, "action", "change_password", "current_password", first,
		"new_password", second)
	if err != nil {
		return err
	}
	say("password", second, first)
	say("no-session", session)
	say("dead", answer.Access)
	say("dead-refresh", answer.Refresh)
	return nil
}

// rest is between two rounds of a job that ends much.
const rest = 20 * time.Millisecond

// workKeys lets another key sign, and retires some of those that have signed.
func (h *house) workKeys(say say) error {
	ctx := context.Background()
	old := h.ring.Current().ID()
	if err := h.ring.Rotate(ctx, true); err != nil {
		return err
	}
	say("key", h.ring.Current().ID())
	if rand.IntN(3) > 0 {
		say("retiring", old)
		if err := h.ring.Retire(ctx, old); err != nil {
			return err
		}
		say("retired", old)
	}
	time.Sleep(rest)
	return nil
}

// workPurge removes the records of what was revoked, which stays revoked.
func (h *house) workPurge(say say) error {
	say("purging")
	n, err := h.issuer.Purge(context.Background(), issuer.PurgeFilter{Revoked: true})
	if err != nil {
		return err
	}
	say("purged", strconv.Itoa(n))
	time.Sleep(rest)
	return nil
}

// workGuesses guesses at a password.
func (h *house) workGuesses(say say) error {
	login := "nobody-" + crypto.Text()
	for range 3 {
		if _, status := h.trySignIn(login, "a wrong password"); status != http.StatusUnauthorized {
			return fmt.Errorf("a wrong password: %d", status)
		}
		say("guessed", login)
	}
	return nil
}

// forgive forgets the wrong guesses at somebody's password: to sign in while one is disabled is one.
func (h *house) forgive(login string) error {
	return h.update(func(r *store.Records) error { return r.ForgetGuesses("login", store.FoldLogin(login)) })
}

// restores writes a backup and puts it in force, after more was given out and ended: that stays known.
func restores() job {
	return func(h *house, say say) error {
		ctx := context.Background()
		codes, devices := codes(), devices() // by people who sign in anew
		backup, err := h.backup(ctx)
		if err != nil {
			return err
		}
		say("backup")
		for range 2 {
			for _, job := range []job{(*house).workTokens, codes, (*house).workSessions, devices} {
				if err := job(h, say); err != nil {
					return err
				}
			}
		}
		say("restoring")
		_, err = h.db.Restore(ctx, func() (io.ReadCloser, error) { return os.Open(backup) },
			store.RestoreOptions{Key: h.ring.Adopt})
		if err != nil {
			return err
		}
		say("restored")
		return os.Remove(backup)
	}
}

func (h *house) backup(ctx context.Context) (path string, err error) {
	file, err := os.CreateTemp(filepath.Dir(h.dir), "backup-")
	if err != nil {
		return "", err
	}
	_, err = h.db.Backup(ctx, file)
	return file.Name(), errors.Join(err, file.Close())
}
