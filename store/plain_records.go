package store

// The records that are read, or written, by hand: see plainRecord. Names and order are those of their types.

func (k *keptFamily) clear() { *k = keptFamily{} }

func (k *keptFamily) member(name string, p *plain) {
	switch name {
	case "id":
		k.ID = p.text()
	case "client_id":
		k.ClientID = p.text()
	case "user_id":
		k.UserID = p.text()
	case "issuer":
		k.Issuer = p.text()
	case "grant":
		k.Grant = p.text()
	case "scopes":
		k.Scopes = p.list()
	case "audience":
		k.Audience = p.list()
	case "authenticated_at":
		k.AuthenticatedAt = p.number()
	case "created_at":
		k.CreatedAt = p.number()
	case "used_at":
		k.UsedAt = p.number()
	case "access_until":
		k.AccessUntil = p.number()
	case "expires_at":
		k.ExpiresAt = p.number()
	case "revoked_at":
		k.RevokedAt = p.number()
	case "access":
		k.Access = p.list()
	case "name":
		k.Name = p.text()
	case "current":
		k.Current = p.text()
	case "until":
		k.Until = p.number()
	case "previous":
		k.Previous = p.text()
	case "successor":
		k.Successor = p.bytes()
	case "rotated_at":
		k.RotatedAt = p.number()
	default:
		p.odd = true
	}
}

func (k *keptFamily) writeTo(w *plainWriter) {
	w.text("id", k.ID)
	w.text("client_id", k.ClientID)
	w.text("user_id", k.UserID)
	w.textUnlessEmpty("issuer", k.Issuer)
	w.textUnlessEmpty("grant", k.Grant)
	w.listUnlessEmpty("scopes", k.Scopes)
	w.listUnlessEmpty("audience", k.Audience)
	w.numberUnlessZero("authenticated_at", k.AuthenticatedAt)
	w.numberUnlessZero("created_at", k.CreatedAt)
	w.numberUnlessZero("used_at", k.UsedAt)
	w.numberUnlessZero("access_until", k.AccessUntil)
	w.numberUnlessZero("expires_at", k.ExpiresAt)
	w.numberUnlessZero("revoked_at", k.RevokedAt)
	w.listUnlessEmpty("access", k.Access)
	w.textUnlessEmpty("name", k.Name)
	w.textUnlessEmpty("current", k.Current)
	w.numberUnlessZero("until", k.Until)
	w.textUnlessEmpty("previous", k.Previous)
	w.bytesUnlessEmpty("successor", k.Successor)
	w.numberUnlessZero("rotated_at", k.RotatedAt)
}

func (t *refreshToken) clear() { *t = refreshToken{} }

func (t *refreshToken) member(name string, p *plain) {
	switch name {
	case "family_id":
		t.FamilyID = p.text()
	case "expires_at":
		t.ExpiresAt = p.number()
	default:
		p.odd = true
	}
}

func (t *refreshToken) writeTo(w *plainWriter) {
	w.text("family_id", t.FamilyID)
	w.number("expires_at", t.ExpiresAt)
}

func (c *Code) clear() { *c = Code{} }

func (c *Code) member(name string, p *plain) {
	switch name {
	case "id":
		c.ID = p.text()
	case "client_id":
		c.ClientID = p.text()
	case "user_id":
		c.UserID = p.text()
	case "issuer":
		c.Issuer = p.text()
	case "redirect_uri":
		c.RedirectURI = p.text()
	case "redirect_sent":
		c.RedirectSent = p.boolean()
	case "scopes":
		c.Scopes = p.list()
	case "audience":
		c.Audience = p.list()
	case "challenge":
		c.Challenge = p.text()
	case "authenticated_at":
		c.AuthenticatedAt = p.time()
	case "issued_at":
		c.IssuedAt = p.time()
	case "expires_at":
		c.ExpiresAt = p.time()
	case "used_at":
		c.UsedAt = p.time()
	case "family_id":
		c.FamilyID = p.text()
	default:
		p.odd = true
	}
}

func (c *Code) writeTo(w *plainWriter) {
	w.text("id", c.ID)
	w.text("client_id", c.ClientID)
	w.text("user_id", c.UserID)
	w.text("issuer", c.Issuer)
	w.text("redirect_uri", c.RedirectURI)
	w.trueUnlessNot("redirect_sent", c.RedirectSent)
	w.listUnlessEmpty("scopes", c.Scopes)
	w.listUnlessEmpty("audience", c.Audience)
	w.textUnlessEmpty("challenge", c.Challenge)
	w.time("authenticated_at", c.AuthenticatedAt)
	w.time("issued_at", c.IssuedAt)
	w.time("expires_at", c.ExpiresAt)
	w.timeUnlessZero("used_at", c.UsedAt)
	w.textUnlessEmpty("family_id", c.FamilyID)
}

func (u *User) clear() { *u = User{} }

func (u *User) member(name string, p *plain) {
	switch name {
	case "id":
		u.ID = p.text()
	case "name":
		u.Name = p.text()
	case "email":
		u.Email = p.text()
	case "display_name":
		u.DisplayName = p.text()
	case "password_hash":
		u.PasswordHash = p.text()
	case "source":
		u.Source = p.text()
	case "external":
		u.External = p.text()
	case "limited":
		u.Limited = p.boolean()
	case "scopes":
		u.Scopes = p.list()
	case "disabled":
		u.Disabled = p.boolean()
	case "created_at":
		u.CreatedAt = p.time()
	case "updated_at":
		u.UpdatedAt = p.time()
	case "signed_in_at":
		u.SignedInAt = p.time()
	case "not_before":
		u.NotBefore = p.time()
	default:
		p.odd = true
	}
}
