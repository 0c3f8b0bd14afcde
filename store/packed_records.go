package store

// The records that are kept packed. A field is added by a new layout, see packedMark.

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
