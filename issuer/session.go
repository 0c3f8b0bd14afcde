package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
	"github.com/oauth2-passport/caddy-passport/store"
)

// visitor is a person who has signed in with the browser that sends the request.
type visitor struct {
	session *store.Session
	user    *store.User
	secret  string // what [SessionCookie] answers
}

// visitor finds out who sends the request. It is nil when nobody is signed in, or not any more.
func (e *endpoints) visitor(r *http.Request) (*visitor, error) {
	secret := SessionCookie(r)
	if secret == "" {
		return nil, nil
	}
	v := &visitor{secret: secret}
	err := e.db.View(r.Context(), func(records *store.Records) error { return e.visit(r.Context(), records, v) })
	switch {
	case errors.Is(err, errNobody):
		return nil, nil
	case err != nil:
		return nil, err
	}
	e.seen(r.Context(), v)
	return v, nil
}

// visit reads who is signed in by the visitor's secret. It answers [errNobody] when nobody is.
func (e *endpoints) visit(ctx context.Context, r *store.Records, v *visitor) error {
	session, err := r.Session(store.HashSecret(v.secret))
	if errors.Is(err, store.ErrNotFound) {
		return errNobody
	}
	if err != nil {
		return err
	}
	user, err := e.personOf(ctx, r, session.UserID)
	if err != nil {
		return err
	}
	if !user.Stands(session.CreatedAt) {
		return errNobody
	}
	v.session, v.user = session, user
	return nil
}

// seenEvery is how exactly it is known when a session was seen last.
const seenEvery = time.Minute

// seen lets the session go on for its idle lifetime. That this fails ends nothing but the idle time earlier.
func (e *endpoints) seen(ctx context.Context, v *visitor) {
	if e.db.Now().Sub(v.session.SeenAt) < seenEvery {
		return
	}
	err := e.db.Update(ctx, func(r *store.Records) error {
		s, err := r.Session(v.session.Hash)
		if err != nil || r.Now().Sub(s.SeenAt) < seenEvery {
			return err
		}
		s.SeenAt, s.IdleUntil = r.Now(), r.Now().Add(e.config.Lifetimes.SessionIdle)
		return r.PutSession(s)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		e.log.Error("keeping a session alive", zap.String("session_id", v.session.ID), zap.Error(err))
	}
}

// startSession signs a person in with this browser, by that login. The session is always a new one, and the browser's
// old one is over: whoever knew its secret before the person signed in knows nothing now. u is the person's record as
// it was when the password was right: when what was given until then has been ended since, as by a new password, there
// is no session, and the answer is [errNobody].
func (e *endpoints) startSession(
	ctx context.Context, w http.ResponseWriter, r *http.Request, u *store.User, login string,
) error {
	value := store.NewSecret(store.SessionSecret)
	secret := value
	if !e.secure(r) {
		secret = plainMark + value
	}
	old, known := SessionCookie(r), e.newKnownBrowser(r, login)
	err := e.db.Update(ctx, func(records *store.Records) error {
		if err := endSession(records, old); err != nil {
			return err
		}
		if err := e.unended(ctx, records, u); err != nil {
			return err
		}
		now := records.Now()
		browser, err := known.put(records, u)
		if err != nil {
			return err
		}
		return records.PutSession(&store.Session{
			ID: store.NewID(now), Hash: store.HashSecret(secret), UserID: u.ID, RemoteIP: RemoteIP(r),
			UserAgent: userAgent(r), BrowserID: browser, CreatedAt: now, AuthenticatedAt: now, SeenAt: now,
			IdleUntil: now.Add(e.config.Lifetimes.SessionIdle), ExpiresAt: now.Add(e.config.Lifetimes.Session),
		})
	})
	if err != nil {
		return err
	}
	seconds := int(e.config.Lifetimes.Session / time.Second)
	e.setCookie(w, r, plainSessionCookie, value, seconds)
	e.setCookie(w, r, browserCookie, known.cookie(), int(keepBrowser/time.Second))
	if e.secure(r) && r.TLS == nil {
		// HTTPS has ended at a proxy. Somebody may have set the cookie of plain HTTP, which would stand before this one.
		//nolint:gosec // it is one that has no attributes
		http.SetCookie(w, &http.Cookie{Name: plainSessionCookie, Path: "/", MaxAge: -1})
	}
	e.setXSRF(w, r, verify.CSRFToken(secret), seconds)
	return nil
}

// unended answers [errNobody] when a person is gone since its record was read, or has ended what was given until then:
// a password that was right before it was changed is good for nothing.
func (i *Issuer) unended(ctx context.Context, r *store.Records, u *store.User) error {
	now, err := i.personOf(ctx, r, u.ID)
	if err == nil && !now.NotBefore.Equal(u.NotBefore) {
		return errNobody
	}
	return err
}

// endSession ends the session of a secret, if there is one.
func endSession(r *store.Records, secret string) error {
	if secret == "" {
		return nil
	}
	s, err := r.Session(store.HashSecret(secret))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.EndSession(s)
}

// signOut ends the browser's session, everywhere at once.
func (e *endpoints) signOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	err := e.db.Update(r.Context(), func(records *store.Records) error { return endSession(records, v.secret) })
	if err != nil {
		return err
	}
	e.setCookie(w, r, plainSessionCookie, "", -1)
	e.setXSRF(w, r, "", -1)
	e.tell(r.Context(), Event{Type: SignedOut, UserID: v.user.ID})
	return nil
}

// keepXSRF gives the browser the cookie for scripts anew, which others on the same host may have overwritten.
func (e *endpoints) keepXSRF(w http.ResponseWriter, r *http.Request, v *visitor) {
	if onlyCookie(r, e.config.XSRFCookie) != v.csrf() {
		e.setXSRF(w, r, v.csrf(), int(e.config.Lifetimes.Session/time.Second))
	}
}

func (e *endpoints) setXSRF(w http.ResponseWriter, r *http.Request, token string, seconds int) {
	//nolint:gosec // scripts have to read it
	http.SetCookie(w, &http.Cookie{
		Name: e.config.XSRFCookie, Value: token, Path: "/", MaxAge: seconds,
		Secure: e.secure(r), SameSite: http.SameSiteLaxMode,
	})
}

// setCookie sets a cookie for this host alone, and for requests that this site's pages or a click elsewhere cause. No
// script can read it, and where HTTPS is used it has a name that nobody else can set. Without seconds it lasts as long
// as the browser is open.
func (e *endpoints) setCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	//nolint:gosec // Secure wherever a browser would keep it then
	http.SetCookie(w, &http.Cookie{
		Name: e.cookieName(r, name), Value: value, Path: "/", MaxAge: seconds,
		Secure: e.secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func (e *endpoints) cookieName(r *http.Request, name string) string {
	if e.secure(r) {
		return securePrefix + name
	}
	return name
}

// secure tells whether the browser has come by HTTPS. That may have ended at a proxy in front: then the issuer's own
// identifier says so.
func (e *endpoints) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	u, err := url.Parse(e.config.Identifier)
	return err == nil && u.Scheme == "https" && strings.EqualFold(u.Host, r.Host)
}

// maxUserAgent bounds what is kept of a browser's name for itself, in bytes.
const maxUserAgent = 255

func userAgent(r *http.Request) string {
	name := r.UserAgent()
	name = strings.ToValidUTF8(name[:min(len(name), maxUserAgent)], "")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, name)
}
