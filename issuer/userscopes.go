package issuer

import "github.com/oauth2-passport/caddy-passport/store"

// ScopesOfUser lists every scope that a person may have, in the order of [Issuer.Scopes]: what a browser session may
// do. Without a list of the person's own that is all but the restricted ones; a list has what its scopes include, too.
// It reads memory only.
func (i *Issuer) ScopesOfUser(u *store.User) []string {
	if u.Source != "" { // the configuration may say something else by now than the record
		if profile, _ := i.people.find(u.Source, u.External); profile != nil {
			now := *u
			profile.copyTo(&now)
			u = &now
		}
	}
	if u.Limited && len(u.Scopes) == 0 {
		return nil
	}
	may := &store.Client{} // a person may have what a client of the same list may
	if u.Limited {
		may.Scopes = u.Scopes
	}
	s := i.scopes.load()
	var all []string
	for _, defined := range s.list {
		if s.mayHave(may, defined.Name) {
			all = append(all, defined.Name)
		}
	}
	return all
}
