//go:build linux

package upstreams

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

const php = `http://127.0.0.1:{$PORT} {
	passport_server
	passport_auth /orders* scopes read
	@upload method POST
	passport_auth @upload scopes write
	passport_auth /public/legacy/* scopes read {
		upstream_auth basic legacy {env.CLIENT_SECRET}
	}
	reverse_proxy {$UPSTREAM}
}
`

// TestNginxWithPHP is a PHP site that learns from the gateway who calls.
func TestNginxWithPHP(t *testing.T) {
	n := startNginx(t)
	g := start(t, php, n.plain)
	bearer := token(g)

	for _, path := range []string{"/orders", "/orders/17", "/orders/list.php", "/orders/all.txt", "/orders/events.php"} {
		refused(t, path, g.Get(path, ""), "")
	}
	refused(t, "a made-up token", g.Get("/orders/17", bearer[:len(bearer)-6]+"AAAAAA"), "invalid_token")
	if resp := g.Get("/public/hello.txt", ""); resp.Status != http.StatusOK || resp.Body != "for everybody\n" {
		t.Errorf("a public file: %d %s", resp.Status, resp.Body)
	}
	if log := n.file(t, "access.log"); strings.Contains(log, "/orders") {
		t.Errorf("nginx has seen what was refused:\n%s", log)
	}

	for path, route := range map[string]string{
		"/orders/17?a=b%20c": "/orders/17", "/orders/list.php": "list.php", "/orders/caf%C3%A9": "/orders/café",
	} {
		req := g.Request(http.MethodGet, path, "")
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("X-Passport-Subject", "admin")
		req.Header["x_passport_subject"] = []string{"admin"}
		req.Header["X.Passport_Username"] = []string{"admin"}
		resp := g.Do(req)
		server, _ := resp.JSON()["server"].(map[string]any)
		if resp.Status != http.StatusOK || resp.String("page") != "orders" || resp.String("route") != route ||
			server["HTTP_X_PASSPORT_SUBJECT"] != clientID || server["HTTP_X_PASSPORT_CLIENT"] != clientID ||
			server["HTTP_X_PASSPORT_SCOPE"] != "read write" || server["HTTP_X_PASSPORT_ISSUER"] != g.URL ||
			server["HTTP_X_PASSPORT_USERNAME"] != nil || server["HTTP_AUTHORIZATION"] != nil {
			t.Errorf("%s: %d %s", path, resp.Status, resp.Body)
		}
	}
	if resp := g.Get("/orders/all.txt", bearer); resp.Body != "the orders, as a file\n" {
		t.Errorf("a file: %d %q", resp.Status, resp.Body)
	}
	req := g.Request(http.MethodGet, "/public/x", "")
	req.Header["X_Passport_Subject"] = []string{"admin"}
	if resp := g.Do(req); resp.String("page") != "public" || strings.Contains(resp.Body, "admin") {
		t.Errorf("an anonymous request: %d %s", resp.Status, resp.Body)
	}

	t.Run("a form with a file", func(t *testing.T) {
		document := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		resp := g.Do(form(t, g.URL, bearer, document))
		if resp.Status != http.StatusOK || resp.String("route") != "order.pdf 16777216 from the client" {
			t.Errorf("%d %s", resp.Status, resp.Body)
		}
		refused(t, "without a token", g.Do(form(t, g.URL, "", nil)), "")
	})
	t.Run("the password that PHP knows", func(t *testing.T) {
		resp := g.Get("/public/legacy/17", bearer)
		server, _ := resp.JSON()["server"].(map[string]any)
		if server["PHP_AUTH_USER"] != "legacy" || server["PHP_AUTH_PW"] != clientSecret {
			t.Errorf("%d %s", resp.Status, resp.Body)
		}
		req := g.Request(http.MethodGet, "/public/legacy/17", "")
		req.SetBasicAuth("legacy", clientSecret)
		refused(t, "sent by a caller", g.Do(req), "")
	})
	t.Run("an event stream", func(t *testing.T) {
		own := token(g)
		req := g.Request(http.MethodGet, "/orders/events.php", "")
		req.Header.Set("Authorization", "Bearer "+own)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		resp, err := g.HTTP.Do(req.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		first := make([]byte, len("data: 1 for "+clientID+"\n\n"))
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: 1 for "+clientID+"\n\n" {
			t.Fatalf("%d %q %v", resp.StatusCode, first, err)
		}
		if strings.Contains(n.file(t, "access.log"), "events.php") {
			t.Error("the stream is over already")
		}
		revoke(t, g, own)
		switch _, err := io.Copy(io.Discard, resp.Body); {
		case err == nil:
			t.Error("the stream looks complete")
		case ctx.Err() != nil:
			t.Fatal("the stream outlives its token")
		}
		eventually(t, "the stream ends at nginx, too", func() bool {
			return strings.Contains(n.file(t, "access.log"), "events.php")
		})
		refused(t, "the stream again", g.Get("/orders/events.php", own), "invalid_token")
	})

	revoke(t, g, bearer)
	before := n.file(t, "access.log")
	for _, path := range []string{"/orders/17", "/orders/list.php", "/orders/all.txt"} {
		refused(t, path+", revoked", g.Get(path, bearer), "invalid_token")
	}
	if after := n.file(t, "access.log"); after != before {
		t.Errorf("nginx has seen what was refused: %s", strings.TrimPrefix(after, before))
	}
}

// form is an upload as browsers make one.
func form(t *testing.T, base, bearer string, document []byte) *http.Request {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	file, err := w.CreateFormFile("document", "order.pdf")
	if err == nil {
		_, err = file.Write(document)
	}
	if err == nil {
		err = w.WriteField("note", "from the client")
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/orders/upload.php", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return req
}
