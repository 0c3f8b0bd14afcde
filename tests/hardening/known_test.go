package hardening

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

type set map[string]bool

// known is what the children were told.
type known struct {
	said map[string]int // how often which word was

	// What holds for good, until it is said to end.
	live, dead, people, nobody set
	noSession, spentDevice     set
	retiring, retired, keys    set
	clientName, client         map[string]string // by the ID
	noClient                   map[string]string // IDs by secrets that are good no more
	personIs                   map[string]string
	password                   string // of pat; empty: unknown
	wrongPassword              string
	checkedPasswords           int
	consent                    fact // the last one

	// What is checked in the round in which it is said.
	liveOnce, session, device set
	approved, unused, denied  set
	deadCode, deadRefresh     set
	codes, refresh            map[string]string // what is spent, and what it gave
	spent                     set               // refresh tokens that have been used
	signedOut, usedDevice     set               // later in noSession, spentDevice
	guessed                   map[string]int
}

func newKnown() *known {
	k := &known{
		said: map[string]int{}, live: set{}, dead: set{}, people: set{}, nobody: set{}, noSession: set{},
		spentDevice: set{}, retiring: set{}, retired: set{}, keys: set{}, clientName: map[string]string{},
		client: map[string]string{}, noClient: map[string]string{}, personIs: map[string]string{},
	}
	k.forget()
	return k
}

// forget forgets what is checked once.
func (k *known) forget() {
	k.liveOnce, k.session, k.device, k.approved, k.unused = set{}, set{}, set{}, set{}, set{}
	k.deadCode, k.deadRefresh, k.spent = set{}, set{}, set{}
	k.signedOut, k.usedDevice, k.denied = set{}, set{}, set{}
	k.codes, k.refresh, k.guessed = map[string]string{}, map[string]string{}, map[string]int{}
}

// words are all that children say of what has succeeded.
var words = []string{
	"live", "live-once", "dead", "person", "no-person", "code", "spent-code", "spent-refresh", "session", "no-session",
	"device", "approved", "spent-device", "consent", "dead-code", "dead-refresh", "person-is", "client", "client-name",
	"no-client", "password", "key", "retired", "purging", "guessed", "backup", "restored", "denied",
}

func (k *known) learn(said []fact) {
	sets := map[string]set{
		"live": k.live, "live-once": k.liveOnce, "dead": k.dead, "person": k.people, "no-person": k.nobody,
		"code": k.unused, "session": k.session, "no-session": k.signedOut, "device": k.device, "approved": k.approved,
		"spent-device": k.usedDevice, "dead-code": k.deadCode, "dead-refresh": k.deadRefresh, "key": k.keys,
		"retiring": k.retiring, "retired": k.retired, "denied": k.denied,
	}
	for _, words := range said {
		k.said[words[0]]++
		if words[0] == "restoring" { // sessions, and requests that are under way, are in no backup
			for _, is := range []set{k.session, k.device, k.approved, k.unused} {
				clear(is)
			}
			k.consent = nil
		}
		if len(words) == 1 {
			continue
		}
		what := words[1]
		if is, ok := sets[words[0]]; ok {
			is[what] = true
			continue
		}
		switch words[0] {
		case "ending": // nothing is known of it until it is said to have ended
			for _, is := range []set{k.live, k.liveOnce, k.people, k.session, k.device, k.approved} {
				delete(is, what)
			}
			delete(k.client, what)
			k.spent[what] = true
		case "spent-code":
			k.codes[what] = words[2]
		case "spent-refresh":
			k.refresh[what] = words[2]
		case "consent":
			k.consent = words
		case "person-is":
			k.personIs[what] = words[2]
		case "client":
			k.client[what] = words[2]
		case "client-name":
			k.clientName[what] = words[2]
		case "no-client":
			k.noClient[words[2]] = what
		case "password":
			if k.password = what; what == "unknown" {
				k.password = ""
			}
			if len(words) > 2 {
				k.wrongPassword = words[2]
			}
		case "guessed":
			k.guessed[what]++
		}
	}
	k.learnKeys()
}

// learnKeys ends what a key has signed that is retired. When that was not answered, nothing is known of it.
func (k *known) learnKeys() {
	for kid := range k.retiring {
		delete(k.keys, kid)
	}
	for _, is := range []set{k.live, k.liveOnce} {
		for token := range is {
			kid := keyOf(token)
			if k.retiring[kid] {
				delete(is, token)
			}
			if k.retired[kid] {
				k.dead[token] = true
			}
		}
	}
}

// keyOf is the ID of the key that has signed a JWT; empty for what is none.
func keyOf(token string) string {
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return ""
	}
	var header struct {
		Kid string `json:"kid"`
	}
	if json.Unmarshal(text, &header) != nil {
		return ""
	}
	return header.Kid
}

// How many of a kind a round asks about, of those that hold for good.
const (
	sample = 300 // tokens
	fewer  = 30  // of what costs more
)

// some calls fn for so many, in random order.
func some[V any](all map[string]V, n int, fn func(what string, of V)) {
	for what, of := range all {
		if n--; n < 0 {
			return
		}
		fn(what, of)
	}
}

// check looks whether all that is known holds. What it uses up it forgets.
func (k *known) check(t *testing.T, h *house) {
	t.Helper()
	k.checkTokens(t, h)
	k.checkPeople(t, h)
	k.checkSessions(t, h)
	k.checkConsent(t, h)
	k.checkClients(t, h)
	k.checkKeys(t, h)
	k.checkGuesses(t, h)
	k.checkDevices(t, h)
	k.checkCodes(t, h)
	k.forget()
}

func (k *known) checkTokens(t *testing.T, h *house) {
	t.Helper()
	for _, c := range []struct {
		tokens set
		want   bool
	}{{k.live, true}, {k.liveOnce, true}, {k.dead, false}} {
		some(c.tokens, sample, func(token string, _ bool) {
			if active, err := h.active(token); err != nil || active != c.want {
				t.Errorf("the token %s is active: %v, %v; want %v", token, active, err, c.want)
			}
		})
	}
}

func (k *known) checkPeople(t *testing.T, h *house) {
	t.Helper()
	for id := range k.people {
		if err := h.view(func(r *store.Records) error { _, err := r.User(id); return err }); err != nil {
			t.Errorf("the person %s: %v", id, err)
		}
	}
	for id := range k.nobody {
		if err := h.view(func(r *store.Records) error { _, err := r.User(id); return err }); err == nil {
			t.Errorf("the deleted person %s is there", id)
		}
	}
	some(k.personIs, fewer, func(name, is string) {
		want := map[string]int{"enabled": http.StatusSeeOther, "disabled": http.StatusUnauthorized}[is]
		if want == 0 {
			return
		}
		if err := h.forgive(name); err != nil {
			t.Error(err)
		}
		if _, status := h.trySignIn(name, password); status != want {
			t.Errorf("%s, who is %s, signs in with %d", name, is, status)
		}
	})
	if k.said["password"] == k.checkedPasswords {
		return
	}
	k.checkedPasswords = k.said["password"]
	if err := h.forgive("pat"); err != nil { // the wrong ones of the rounds before
		t.Error(err)
	}
	if k.wrongPassword != "" {
		if _, status := h.trySignIn("pat", k.wrongPassword); status != http.StatusUnauthorized {
			t.Errorf("signing in with a password that was changed: %d", status)
		}
	}
	if k.password != "" {
		if _, status := h.trySignIn("pat", k.password); status != http.StatusSeeOther {
			t.Errorf("signing in with the new password: %d", status)
		}
	}
}

func (k *known) checkSessions(t *testing.T, h *house) {
	t.Helper()
	for session := range k.session {
		if !h.signedIn(session) {
			t.Errorf("a session is forgotten: %s", session)
		}
	}
	check := func(session string, _ bool) {
		if h.signedIn(session) {
			t.Errorf("a session that was ended is good: %s", session)
		}
	}
	some(k.signedOut, sample, check)
	some(k.noSession, fewer, check)
	maps.Copy(k.noSession, k.signedOut)
}

// checkConsent asks for the app without a page that could ask the person.
func (k *known) checkConsent(t *testing.T, h *house) {
	t.Helper()
	for code := range k.deadCode {
		if _, err := h.redeem(code, "shop"); err == nil {
			t.Errorf("an app that was taken back redeems a code: %s", code)
		}
	}
	for token := range k.deadRefresh {
		for _, client := range []string{"app", "shop"} {
			if _, err := h.refresh(token, client); err == nil {
				t.Errorf("an app that was taken back, or one of who has a new password or is disabled, refreshes: %s", token)
			}
		}
	}
	if k.consent == nil || k.consent[1] == "unknown" {
		return
	}
	to, err := url.Parse(h.askFor("shop", k.consent[2], "none").Header().Get("Location"))
	if err != nil {
		t.Error(err)
		return
	}
	given, refused := to.Query().Has("code"), to.Query().Get("error") == "consent_required"
	if given != (k.consent[1] == "given") || refused == given {
		t.Errorf("the consent that is %s is answered %s", k.consent[1], to)
	}
}

func (k *known) checkClients(t *testing.T, h *house) {
	t.Helper()
	some(k.client, fewer, func(id, secret string) {
		if _, err := h.clientToken(id, secret); err != nil {
			t.Errorf("the secret of the client %s: %v", id, err)
		}
	})
	some(k.noClient, fewer, func(secret, id string) {
		if _, err := h.clientToken(id, secret); err == nil {
			t.Errorf("the client %s is disabled, or its secret was rotated, and gets a token", id)
		}
	})
	some(k.clientName, fewer, func(id, name string) {
		if info, err := h.issuer.Client(t.Context(), id); err != nil || info.Name != name {
			t.Errorf("the client %s has the name %q, %v; want %q", id, info.Name, err, name)
		}
	})
}

func (k *known) checkKeys(t *testing.T, h *house) {
	t.Helper()
	for kid := range k.keys {
		if h.ring.Key(kid) == nil {
			t.Errorf("the key %s is forgotten", kid)
		}
	}
	for kid := range k.retired {
		if h.ring.Key(kid) != nil {
			t.Errorf("the key %s, which was retired, verifies", kid)
		}
	}
}

func (k *known) checkGuesses(t *testing.T, h *house) {
	t.Helper()
	for login, n := range k.guessed {
		var g store.Guesses
		err := h.view(func(r *store.Records) (err error) {
			g, err = r.Guesses("login", store.FoldLogin(login))
			return err
		})
		if err != nil || g.Failures < n {
			t.Errorf("%d wrong passwords are remembered, %v; want %d", g.Failures, err, n)
		}
	}
}

func (k *known) checkDevices(t *testing.T, h *house) {
	t.Helper()
	for code := range k.device {
		if _, err := h.redeemDevice(code); err == nil || !strings.Contains(err.Error(), "authorization_pending") {
			t.Errorf("a device that waits: %v", err)
		}
	}
	for code := range k.approved {
		if _, err := h.redeemDevice(code); err != nil {
			t.Errorf("what a person has allowed a device is forgotten: %v", err)
		}
		k.usedDevice[code] = true
	}
	for code := range k.denied {
		if _, err := h.redeemDevice(code); err == nil || !strings.Contains(err.Error(), "access_denied") {
			t.Errorf("a device that was denied: %v", err) // RFC 8628, section 3.5
		}
		k.usedDevice[code] = true
	}
	check := func(code string, _ bool) {
		if _, err := h.redeemDevice(code); err == nil {
			t.Errorf("a device code is good twice: %s", code)
		}
	}
	some(k.usedDevice, sample, check)
	maps.Copy(k.spentDevice, k.usedDevice)
	some(k.spentDevice, fewer, check)
}

func (k *known) checkCodes(t *testing.T, h *house) {
	t.Helper()
	for code := range k.unused {
		if _, err := h.redeem(code, "app"); err != nil {
			t.Errorf("a code is forgotten: %v", err)
		}
	}
	ended := set{} // refresh tokens whose families the checks below have ended
	for old, next := range k.refresh {
		if ended[old] || ended[next] {
			ended[next] = true
			continue
		}
		if _, err := h.refresh(old, "app"); err == nil {
			t.Errorf("a refresh token is good twice: %s", old)
		}
		ended[next] = true // its use was that of a thief
	}
	for code, refresh := range k.codes {
		if _, ok := k.refresh[refresh]; !ok && !k.spent[refresh] && !ended[refresh] {
			if _, err := h.refresh(refresh, "app"); err != nil {
				t.Errorf("a refresh token is forgotten: %s: %v", refresh, err)
			}
		}
		if _, err := h.redeem(code, "app"); err == nil {
			t.Errorf("a code is good twice: %s", code)
		}
	}
}
