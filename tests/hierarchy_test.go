package tests

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// hierarchy is a gateway at which an app acts for a person, whose scopes include each other.
const hierarchy = `{
	default_bind 127.0.0.1
	passport {
		scope read "See the orders"
		scope write "Place and change orders"
		scope books "See the books" {
			restricted
		}
		scope admin "Everything with orders" {
			includes read write
		}
		client shop {
			secret {env.DEMO_SECRET}
			redirect_uris https://shop.example/cb
			scopes admin
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /read scopes read
	passport_auth /write scopes write
	passport_auth /admin scopes admin
	passport_auth /books scopes books
	reverse_proxy {$UPSTREAM}
}
`

// shop is the app, with a person's browser.
type shop struct {
	*testing.T
	g *gateway.Gateway
	b *gateway.Browser
}

// config is the app's, for a token with that scope.
func (s *shop) config(scope string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: "shop", ClientSecret: demoSecret, RedirectURL: "https://shop.example/cb",
		Scopes: strings.Fields(scope), Endpoint: oauth2.Endpoint{AuthURL: s.g.URL + "/oauth/authorize",
			TokenURL: s.g.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

// ask has the app ask for a token; consent says whether the person is asked.
func (s *shop) ask(scope string, consent bool) *oauth2.Token {
	s.Helper()
	config, verifier := s.config(scope), oauth2.GenerateVerifier()
	page := s.b.Open(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if strings.Contains(page.Body, `name="password"`) {
		page = s.b.SignIn(page, "ada", "the password of ada in these tests")
	}
	if asked := strings.Contains(page.Body, `value="approve"`); asked != consent {
		s.Fatalf("%s: the person is asked: %v, want %v: %d %s", scope, asked, consent, page.Status, page.Body)
	}
	if consent {
		page = s.b.Send("/oauth/authorize", page.Form("decision", "approve"))
	}
	if page.Left == nil || page.Left.Query().Get("code") == "" {
		s.Fatalf("%s: no code: %d %s, %v", scope, page.Status, page.Body, page.Left)
	}
	token, err := config.Exchange(s.Context(), page.Left.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		s.Fatal(err)
	}
	s.g.Secret(token.AccessToken)
	s.g.Secret(token.RefreshToken)
	return token
}

// may holds what a token opens against what it should.
func (s *shop) may(token string, open ...string) {
	s.Helper()
	for _, path := range []string{"/read", "/write", "/admin", "/books"} {
		want := http.StatusForbidden
		for _, one := range open {
			if path == one {
				want = http.StatusOK
			}
		}
		if resp := s.g.Get(path, token); resp.Status != want {
			s.Errorf("%s: %d, want %d", path, resp.Status, want)
		}
	}
}

// TestHierarchyHoldsForConsentAndNarrowing: who has allowed a scope is not asked again for what it includes, is asked for
// what includes it, and a token is narrowed to what its scope includes and to nothing else.
func TestHierarchyHoldsForConsentAndNarrowing(t *testing.T) {
	g, _ := start(t, hierarchy)
	g.Secret(demoSecret)
	create := g.Command("passport", "user", "create", "ada", "--password-stdin", "--address", g.Admin)
	create.Stdin = strings.NewReader("the password of ada in these tests\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := &shop{t, g, g.Browser()}
	s.may(s.ask("read", true).AccessToken, "/read")
	s.ask("read", false)
	whole := s.ask("admin", true) // it includes what is allowed, and more
	s.may(whole.AccessToken, "/read", "/write", "/admin")
	s.may(s.ask("write", false).AccessToken, "/write") // admin includes it
	s.may(s.ask("read write", false).AccessToken, "/read", "/write")

	// Narrowing by the refresh token (RFC 6749 §6).
	refresh := func(scope string) gateway.Response {
		return g.Form("/oauth/token", "shop", demoSecret, url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {whole.RefreshToken}, "scope": {scope},
		})
	}
	for _, scope := range []string{"books", "read books", "admin books"} {
		if resp := refresh(scope); resp.Status != http.StatusBadRequest || resp.String("error") != "invalid_scope" {
			t.Errorf("refreshing to %s: %d %s", scope, resp.Status, resp.Body)
		}
	}
	resp := refresh("write")
	var narrowed struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Scope        string `json:"scope"`
	}
	if err := json.Unmarshal([]byte(resp.Body), &narrowed); err != nil || narrowed.Scope != "write" {
		t.Fatalf("refreshing to write: %d %s", resp.Status, resp.Body)
	}
	g.Secret(narrowed.AccessToken)
	g.Secret(narrowed.RefreshToken)
	s.may(narrowed.AccessToken, "/write")
}
