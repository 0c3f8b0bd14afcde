package caddymodule

import (
	"bufio"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// warnings are what has been warned of under a name since the log had that many bytes.
func (h *house) warnings(since int) (messages []string) {
	h.t.Helper()
	lines := bufio.NewScanner(strings.NewReader(h.logged()[since:]))
	for lines.Scan() {
		var line struct{ Level, Logger, Msg, Path string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Level == "warn" && line.Logger == "passport" {
			messages = append(messages, strings.TrimSpace(line.Msg+" "+line.Path))
		}
	}
	return messages
}

func TestWarnsOfDoorThatNobodyComesTo(t *testing.T) {
	const before = "http://{$ADDR} {\n passport_server\n"
	h := newHouseOf(t, before+"passport_auth\n}")
	for name, test := range map[string]struct {
		sites string
		want  []string // the ends of the paths
	}{
		"none": {before + `
			passport_auth /orders* scopes read
			reverse_proxy /orders* {$UPSTREAM}
			respond ok
		}`, nil},
		"after reverse_proxy": {before + `route {
			reverse_proxy {$UPSTREAM}
			passport_auth
		}
		}`, []string{"/routes/0/handle/0/routes/0/handle/1/routes/0/handle/1"}},
		"after respond, in handle_path": {before + `handle_path /a* {
			route {
				respond no
				passport_auth
			}
		}
		}`, []string{"/routes/0/handle/1"}},
		"after file_server": {before + "route {\nfile_server\npassport_auth\n}\n}", []string{"/handle/1"}},
		"after file_server that passes on": {before + `route {
			file_server {
				pass_thru
			}
			passport_auth
		}
		}`, nil},
		"after routes that take all": {before + `route {
			handle /a* {
				respond a
			}
			handle {
				respond b
			}
			passport_auth
			respond c
		}
		}`, []string{"/handle/0"}},
		"after a route with the same matcher": {before + `route {
			reverse_proxy /orders* {$UPSTREAM}
			passport_auth /orders/1 scopes read
			passport_auth /orders* scopes read
			respond c
		}
		}`, []string{"/routes/2/handle/0"}},
		"the same matcher, after a rewrite": {before + `route {
			reverse_proxy /orders* {$UPSTREAM}
			uri strip_prefix /x
			respond /orders/x no
			passport_auth /orders* scopes read
			respond c
		}
		}`, nil},
		"after early hints": {before + "route {\nrespond 103\npassport_auth\nrespond c\n}\n}", nil},
		"behind forward_auth": {before + `route {
			forward_auth {$UPSTREAM} {
				uri /check
			}
			passport_auth
			respond c
		}
		}`, nil},
		"in error routes": {before + `passport_auth
			reverse_proxy {$UPSTREAM}
			handle_errors {
				passport_auth
				respond c
			}
		}`, nil},
		"after an answer": {before + `route {
			reverse_proxy {$UPSTREAM} {
				@ok status 200
				handle_response @ok {
					route {
						respond no
						passport_auth
					}
				}
			}
			passport_auth
		}
		}`, []string{"/handle_response/0/routes/0/handle/0/routes/0/handle/1"}},
		"in a named route": {"&(api) {\nroute {\nrespond no\npassport_auth\n}\n}\n" + before + "invoke api\n}",
			[]string{"/named_routes/api/handle/0/routes/0/handle/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			since := len(h.logged())
			h.load(test.sites)
			got := slices.DeleteFunc(h.warnings(since), func(w string) bool { return !strings.Contains(w, "guards nothing") })
			if len(got) != len(test.want) {
				t.Fatalf("%q, want %d", got, len(test.want))
			}
			for i, end := range test.want {
				if !strings.HasSuffix(got[i], end) || !strings.Contains(got[i], " apps/http/servers/srv0/") {
					t.Errorf("%s, want an end of %s", got[i], end)
				}
			}
		})
	}
}

func TestWarnsOfIssuerThatNobodyServes(t *testing.T) {
	h := newHouseOf(t, "http://{$ADDR} {\n passport_server\n}")
	for name, test := range map[string]struct {
		sites string
		warns bool
	}{
		"served":            {"http://{$ADDR} {\n passport_server\n passport_auth\n}", false},
		"demanded alone":    {"http://{$ADDR} {\n passport_auth\n}", true},
		"defined alone":     {"http://{$ADDR} {\n respond ok\n}", true},
		"served elsewhere":  {"http://{$ADDR} {\n passport_auth\n}\nhttp://localhost:{$PORT} {\n passport_server\n}", false},
		"served in a route": {"http://{$ADDR} {\n handle /x/* {\n passport_server {\n prefix /x/oauth\n }\n}\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			since := len(h.logged())
			h.load(test.sites)
			got := h.warnings(since)
			if test.warns != (len(got) == 1 && strings.HasPrefix(got[0], "no site has passport_server: ")) {
				t.Errorf("%q", got)
			}
			if !test.warns && len(got) > 0 {
				t.Errorf("%q", got)
			}
		})
	}
}
