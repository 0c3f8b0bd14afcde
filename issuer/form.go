package issuer

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what a form may hold. What is longer is an error, not cut.
const (
	maxBody   = 64 << 10
	maxParams = 64
	maxValue  = 16 << 10
)

// form is the parameters of a request. A parameter without a value is not there (RFC 6749 §3.1).
type form []param

type param struct{ name, value string }

// get returns the value of a parameter, empty when it is not there.
func (f form) get(name string) string {
	for i := range f {
		if f[i].name == name {
			return f[i].value
		}
	}
	return ""
}

// all returns every value of a parameter that may come more than once.
func (f form) all(name string) []string {
	var values []string
	for i := range f {
		if f[i].name == name {
			values = append(values, f[i].value)
		}
	}
	return values
}

// repeatable tells the parameters that may come more than once (RFC 8707 §2, RFC 8693 §2.1); for all others RFC 6749
// §3.2 forbids it.
func repeatable(name string) bool { return name == "resource" || name == "audience" }

// neverInURL are the parameters that are refused in a query string: RFC 6749 §2.3.1 for credentials, §3.2 (the
// parameters are sent in the body) for the rest. A URL ends up in logs.
var neverInURL = []string{
	"client_id", "client_secret", "client_assertion", "client_assertion_type", "grant_type", "scope", "resource",
	"audience", "code", "redirect_uri", "code_verifier", "refresh_token", "username", "password", "device_code",
	"token", "token_type_hint", "access_token", "assertion", "subject_token", "actor_token",
}

// readForm reads the parameters of a POST.
func readForm(w http.ResponseWriter, r *http.Request) (form, *Error) {
	if r.URL.RawQuery != "" {
		if err := checkQuery(r.URL.RawQuery); err != nil {
			return nil, err
		}
	}
	if !isForm(r.Header["Content-Type"]) {
		return nil, errContentType
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return parseForm(body)
}

func checkQuery(query string) *Error {
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		decoded, ok := unescape(name)
		if !ok {
			return errQuery
		}
		if slices.Contains(neverInURL, decoded) {
			return errQuery
		}
	}
	return nil
}

const formType = "application/x-www-form-urlencoded"

func isForm(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	if contentType[0] == formType {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType[0])
	if err != nil || media != formType {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// bodyPatience is how long a body may take to come.
const bodyPatience = 10 * time.Second

// readBody reads the body as it comes: what a client says of its length reserves no memory.
func readBody(w http.ResponseWriter, r *http.Request) (string, *Error) {
	if r.ContentLength > maxBody {
		return "", errTooLarge
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyPatience)) // not every writer can
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return "", errBody // the deadline stays: else the server would wait for the rest
	case len(body) > maxBody:
		return "", errTooLarge
	case r.ContentLength >= 0 && int64(len(body)) != r.ContentLength:
		return "", errBody
	}
	_ = control.SetReadDeadline(time.Time{})
	return string(body), nil
}

// parseForm reads application/x-www-form-urlencoded, strictly: what is malformed is an error, for two readers of the
// same request must not understand it differently.
func parseForm(body string) (form, *Error) {
	f, twice, err := parseParams(body)
	if err == nil && len(twice) > 0 {
		return nil, errTwice
	}
	return f, err
}

// parseParams is parseForm for who has to know which parameters came twice; the first of each is in the form.
func parseParams(body string) (f form, twice []string, fault *Error) {
	f = make(form, 0, 8)
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, nameOK := unescape(name)
		value, valueOK := unescape(value)
		switch {
		case !nameOK, !valueOK, name == "", len(f) == maxParams:
			return nil, nil, errFormMalformed
		case len(name) > maxValue, len(value) > maxValue:
			return nil, nil, errTooLong
		case !isText(name), !isText(value):
			return nil, nil, errCharacters
		}
		if !repeatable(name) && f.has(name) {
			twice = append(twice, name)
			continue
		}
		f = append(f, param{name, value})
	}
	return f, twice, nil
}

// has tells whether a parameter is there.
func (f form) has(name string) bool {
	return slices.ContainsFunc(f, func(p param) bool { return p.name == name })
}

// unescape undoes the form encoding; false for a percent sign without two hexadecimal digits.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	decoded, err := url.QueryUnescape(s)
	return decoded, err == nil
}

// isText tells whether s is UTF-8 without control characters but the tab, which a password may have (RFC 6749,
// appendix A).
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
