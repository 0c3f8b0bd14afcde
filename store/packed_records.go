package store

// The records that are kept packed. A field is added by a new layout, see packedMark.

func (*keptFamily) keptPacked() bool { return true }

func (k *keptFamily) pack(p *packer) {
	p.text(&k.ID)
	p.text(&k.ClientID)
	p.text(&k.UserID)
	p.text(&k.Issuer)
	p.text(&k.Grant)
	p.list(&k.Scopes)
	p.list(&k.Audience)
	p.number(&k.AuthenticatedAt)
	p.number(&k.CreatedAt)
	p.number(&k.UsedAt)
	p.number(&k.AccessUntil)
	p.number(&k.ExpiresAt)
	p.number(&k.RevokedAt)
	p.list(&k.Access)
	p.text(&k.Name)
	p.text(&k.Current)
	p.number(&k.Until)
	p.text(&k.Previous)
	p.bytes(&k.Successor)
	p.number(&k.RotatedAt)
}

func (*Code) keptPacked() bool { return true }

func (c *Code) pack(p *packer) {
	p.text(&c.ID)
	p.text(&c.ClientID)
	p.text(&c.UserID)
	p.text(&c.Issuer)
	p.text(&c.RedirectURI)
	p.boolean(&c.RedirectSent)
	p.list(&c.Scopes)
	p.list(&c.Audience)
	p.text(&c.Challenge)
	p.time(&c.AuthenticatedAt)
	p.time(&c.IssuedAt)
	p.time(&c.ExpiresAt)
	p.time(&c.UsedAt)
	p.text(&c.FamilyID)
}

func (*User) keptPacked() bool { return true }

func (u *User) pack(p *packer) {
	p.text(&u.ID)
	p.text(&u.Name)
	p.text(&u.Email)
	p.text(&u.DisplayName)
	p.text(&u.PasswordHash)
	p.text(&u.Source)
	p.text(&u.External)
	p.boolean(&u.Limited)
	p.list(&u.Scopes)
	p.boolean(&u.Disabled)
	p.time(&u.CreatedAt)
	p.time(&u.UpdatedAt)
	p.time(&u.SignedInAt)
	p.time(&u.NotBefore)
}

// keptPacked is true of a token that a person's grant gives. What a client gets for itself may be far more, and is
// written into backups as it is kept.
func (t *Token) keptPacked() bool { return t.FamilyID != "" }

func (t *Token) pack(p *packer) {
	p.text(&t.ID)
	p.text(&t.ClientID)
	p.text(&t.UserID)
	p.text(&t.Issuer)
	p.list(&t.Scopes)
	p.list(&t.Audience)
	p.time(&t.IssuedAt)
	p.time(&t.ExpiresAt)
	p.time(&t.RevokedAt)
	p.text(&t.KeyID)
	p.text(&t.Grant)
	p.text(&t.FamilyID)
	p.boolean(&t.Personal)
	p.text(&t.Name)
	p.text(&t.Hash)
	p.time(&t.LastUsedAt)
}
