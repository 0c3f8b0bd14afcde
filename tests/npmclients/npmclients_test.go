// Package npmclients has OAuth clients from npm, which nobody here wrote, go through the grants.
package npmclients

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/npm"
)

const (
	password  = "correct horse battery staple"
	appSecret = "the-secret-of-the-app-of-these-tests"
	redirect  = "https://app.example/cb"
)

const caddyfile = `{
	default_bind 127.0.0.1
	passport {
		scope read "See your orders"
		scope write "Place and change orders"
		user ada {
			password_hash {env.ADA_HASH}
		}
		client app {
			secret {env.APP_SECRET}
			grants authorization_code refresh_token device_code
			redirect_uris https://app.example/cb
		}
		client spa {
			public
			grants authorization_code refresh_token device_code
			redirect_uris https://app.example/cb
		}
	}
}

http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /orders* scopes read
	respond "orders of {passport.username}"
}
`

// wish is what a client wants the person to do.
type wish struct {
	Authorize string `json:"authorize"`
	Device    string `json:"device"`
	UserCode  string `json:"user_code"`
	Done      bool   `json:"done"`
}

// TestClientsOfNpm lets each library go through code with PKCE, refresh, introspection, device and revocation, as a
// client with a secret and as one without.
func TestClientsOfNpm(t *testing.T) {
	dir := npm.Install(t, "npmclients", "oauth4webapi.mjs", "openid-client.mjs")
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, library := range []string{"oauth4webapi", "openid-client"} {
		for id, secret := range map[string]string{"app": appSecret, "spa": ""} {
			t.Run(library+"/"+id, func(t *testing.T) {
				g := gateway.Start(t, caddyfile, "ADA_HASH="+string(hash), "APP_SECRET="+appSecret)
				g.Secret(appSecret)
				run(t, g, dir, library, id, secret)
			})
		}
	}
}

func run(t *testing.T, g *gateway.Gateway, dir, library, id, secret string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", library+".mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ISSUER="+g.URL, "API="+g.URL+"/orders", "CLIENT_ID="+id, "CLIENT_SECRET="+secret,
		"REDIRECT_URI="+redirect)
	faults := new(strings.Builder)
	cmd.Stderr = faults
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := person{t, g.Browser()}
	done := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var w wish
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			t.Fatalf("the client says %s: %v", lines.Text(), err)
		}
		done = done || w.Done
		answer := ""
		switch {
		case w.Authorize != "":
			answer = p.authorize(w.Authorize)
		case w.Device != "":
			p.connect(w.Device, w.UserCode)
		default:
			continue
		}
		if _, err := io.WriteString(in, answer+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil || !done {
		t.Fatalf("%s: %v\n%s", library, err, faults)
	}
}

// person does with a browser what a client wants.
type person struct {
	t       *testing.T
	browser *gateway.Browser
}

// signedIn signs the person in where a page asks for it.
func (p person) signedIn(page gateway.Page) gateway.Page {
	if !strings.Contains(page.Body, `name="password"`) {
		return page
	}
	return p.browser.SignIn(page, "ada", password)
}

// authorize follows a client's link, consents, and returns where that leads.
func (p person) authorize(address string) string {
	p.t.Helper()
	page := p.signedIn(p.browser.Open(address))
	page = p.browser.Send("/oauth/authorize", page.Form("decision", "approve"))
	if page.Left == nil {
		p.t.Fatalf("%s: %d %s", page.Path, page.Status, page.Body)
	}
	return page.Left.String()
}

// connect types the code of a device, or follows the link that has it, and approves.
func (p person) connect(address, userCode string) {
	p.t.Helper()
	page := p.signedIn(p.browser.Open(address))
	if userCode != "" {
		page = p.browser.Send("/oauth/device", page.Form("user_code", userCode))
	}
	page = p.browser.Send("/oauth/device", page.Form("decision", "approve"))
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "connected") {
		p.t.Fatalf("%s: %d %s", page.Path, page.Status, page.Body)
	}
}
