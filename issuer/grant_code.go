package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// authorizationCode is what a person gave a client by way of the browser (RFC 6749 §4.1). A code is good once and for a
// minute, for the client that asked for it, with its redirect URI and the verifier of its challenge (RFC 7636).
var authorizationCode = &grant{
	name:        "authorization_code",
	wire:        "authorization_code",
	refreshable: true,
	issue:       (*Issuer).redeemCode,
}

// newCode makes a code in the transaction in which a person says yes to a client. Of c it takes who, to whom and for
// what; the ID and the times are its own.
func (i *Issuer) newCode(r *store.Records, c store.Code) (code string, err error) {
	code = store.NewSecret(store.AuthorizationCode)
	c.ID, c.IssuedAt = store.NewID(r.Now()), r.Now()
	c.ExpiresAt = r.Now().Add(i.config.Lifetimes.AuthorizationCode)
	c.UsedAt, c.FamilyID = time.Time{}, ""
	return code, r.PutCode(store.HashSecret(code), &c)
}

func (i *Issuer) redeemCode(ctx context.Context, req *tokenRequest) (*issued, error) {
	code := req.form.get("code")
	if kind, ok := store.ParseSecret(code); !ok || kind != store.AuthorizationCode {
		return nil, errCode
	}
	hash := store.HashSecret(code)
	var g gift
	var replayed *store.Code
	err := i.issuing(ctx, func(r *store.Records) error {
		g, replayed = gift{}, nil
		if err := i.unchanged(r, req.client); err != nil {
			return err
		}
		c, err := r.Code(hash)
		if errors.Is(err, store.ErrNotFound) {
			return errCode
		}
		if err != nil {
			return err
		}
		if fault := checkCode(req, c); fault != nil {
			return fault
		}
		if !c.UsedAt.IsZero() {
			replayed = c
			return revokeGiven(r, c) // what is answered is a fault, but this is to be kept
		}
		if !c.ExpiresAt.After(r.Now()) || !c.IssuedAt.After(req.client.TokensNotBefore) {
			return errCode
		}
		if err := connected(r, c.UserID, c.ClientID, c.IssuedAt); err != nil {
			return err
		}
		m := req.mandate()
		m.authenticatedAt = c.AuthenticatedAt
		if m.user, err = i.holder(ctx, r, c.UserID, c.IssuedAt); err != nil {
			return err
		}
		if g, err = i.newGift(r, m, c.Scopes, c.Audience); err != nil {
			return err
		}
		return r.UseCode(hash, c, g.token.FamilyID)
	})
	if err != nil {
		return nil, err
	}
	if replayed != nil {
		i.tell(ctx, Event{
			Type: CodeReused, ClientID: replayed.ClientID, UserID: replayed.UserID, FamilyID: replayed.FamilyID,
			Grant: req.grant.name, Error: errCode.Code,
		})
		return nil, errCode
	}
	return i.giveAll(ctx, g)
}

// revokeGiven revokes what the first use of a code gave: two have the code, and which of them is the client nobody can
// tell (RFC 6749 §4.1.2).
func revokeGiven(r *store.Records, c *store.Code) error {
	f, err := r.Family(c.FamilyID)
	if errors.Is(err, store.ErrNotFound) {
		return nil // all of it is over
	}
	if err != nil {
		return err
	}
	return r.RevokeFamily(f)
}

// checkCode holds a request against the code that it brings. Who is not the client that the code was given to learns
// nothing of it, and does it no harm.
func checkCode(req *tokenRequest, c *store.Code) *Error {
	redirectURI := req.form.get("redirect_uri")
	switch {
	case c.ClientID != req.client.ID, c.Issuer != req.issuer:
		return errCode
	case redirectURI == "" && c.RedirectSent, redirectURI != "" && redirectURI != c.RedirectURI:
		return errCodeRedirect // RFC 6749 §4.1.3
	}
	return checkVerifier(req, c.Challenge)
}

// checkVerifier holds the verifier of a request against the challenge that its code was asked for with (RFC 7636 §4.6).
func checkVerifier(req *tokenRequest, challenge string) *Error {
	verifier := req.form.get("code_verifier")
	switch {
	case challenge == "" && (verifier != "" || req.client.Public):
		// RFC 9700 §4.8.2: a verifier without challenge tells that somebody has taken the challenge out of the request.
		return errVerifier
	case challenge == "":
		return nil
	case !isVerifier(verifier):
		return errVerifier
	}
	sum := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) != 1 {
		return errVerifier
	}
	return nil
}

// isVerifier tells whether s has the form of a verifier, RFC 7636 §4.1.
func isVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}
