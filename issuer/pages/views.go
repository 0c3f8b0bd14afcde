package pages

import (
	"strings"
	"time"
)

// View is what one page shows. The types of this file are all there are.
type View interface {
	page() string   // the name of its template
	prefix() string // where the issuer's endpoints are, e.g. "/oauth"; empty at the root
}

// Scope is a permission in words. Description is empty when nobody has described it: the name stands in.
type Scope struct {
	Name        string
	Description string
	New         bool // the person has not allowed it to this app before
}

// App is an OAuth client as people see it.
type App struct {
	ID         string
	Name       string
	Owner      string // who registered it; empty: the operator of the site
	FirstParty bool

	// Of a connected app only.
	Scopes []Scope
	Since  time.Time
}

// Login is the sign-in page. Its form goes to <prefix>/login: username, password, return and _token.
type Login struct {
	Prefix, CSRF string
	Return       string // where to go then, sent along as `return`; empty: nowhere in particular
	Username     string // what was typed before, or login_hint
	Client       string // the name of the app that asks; empty: none
	Fault        LoginFault
	RetryAfter   time.Duration // with LoginTooMany
}

// LoginFault is why a sign-in failed; empty: it has not.
type LoginFault string

// Why a sign-in failed.
const (
	LoginWrong       LoginFault = "wrong"       // name or password: which is not told
	LoginTooMany     LoginFault = "too_many"    // wrong ones; RetryAfter says how long to wait
	LoginUnavailable LoginFault = "unavailable" // nobody can be asked now
	LoginExpired     LoginFault = "expired"     // the form was too old or another's: CSRF
)

// Logout asks whether to sign out. Its form goes to <prefix>/logout: return and _token.
type Logout struct {
	Prefix, CSRF, Return string
	Username             string
}

// SignedOut says that the person is signed out.
type SignedOut struct{ Prefix string }

// Consent asks whether an app may have what it asks for. Its form goes to <prefix>/authorize: request, _token and
// decision, which is "approve" (button Authorize) or "deny" (button Deny).
type Consent struct {
	Prefix, CSRF string
	RequestID    string // of the request that is kept, sent along as `request`
	Username     string // who is signed in
	DisplayName  string // empty: none
	Client       App
	RedirectHost string // where the answer goes, as the page shows it: host and port, or the scheme of a native app
	LocalOnly    bool   // the answer stays on the person's own machine, where any program may take it
	Scopes       []Scope
}

// DeviceStep is which page of the device flow is shown.
type DeviceStep string

// The steps of the device flow.
const (
	DeviceEnter   DeviceStep = "enter"   // the person types the code
	DeviceConfirm DeviceStep = "confirm" // the person sees who asks for what
	DeviceDone    DeviceStep = "done"
	DeviceDenied  DeviceStep = "denied"
)

// DeviceFault is why a code was not taken; empty: it was, or there was none.
type DeviceFault string

// Why a code was not taken.
const (
	DeviceUnknown DeviceFault = "unknown"  // wrong, over or used
	DeviceTooMany DeviceFault = "too_many" // wrong ones; RetryAfter says how long to wait
)

// Device is a page of the device flow (RFC 8628 §3.3). Its form goes to <prefix>/device: at DeviceEnter user_code and
// _token, at DeviceConfirm decision ("approve" or "deny") too.
type Device struct {
	Prefix, CSRF string
	Step         DeviceStep
	UserCode     string // what was typed, or to be confirmed
	Fault        DeviceFault
	RetryAfter   time.Duration
	Username     string
	Client       App
	Scopes       []Scope
}

// PersonalToken is a personal access token on the account page.
type PersonalToken struct {
	ID, Name                   string
	Scopes                     []Scope
	Created, Expires, LastUsed time.Time // LastUsed zero: never
}

// OwnClient is an OAuth client that the person has registered.
type OwnClient struct {
	ID, Name     string
	RedirectURIs []string
	Confidential bool // it has a secret
	Disabled     bool // by the operator
	Created      time.Time
}

// Session is a browser that the person is signed in with.
type Session struct {
	ID, Device, IP string // Device: what the browser says that it is; empty: nothing
	Since, Seen    time.Time
	Current        bool
}

// Account is the person's own page. Each of its forms goes to <prefix>/account with _token and action, see [Action].
type Account struct {
	Prefix, CSRF                 string
	Username, DisplayName, Email string

	Apps []App

	PersonalTokens  bool // whether personal access tokens are on
	Tokens          []PersonalToken
	NewToken        string          // shown this once
	NewTokenName    string          // of the new one
	AvailableScopes []Scope         // what a personal access token may hold
	TokenLifetimes  []time.Duration // to choose from; the last one is chosen

	OwnClients      bool // whether people may register clients
	Clients         []OwnClient
	NewClientID     string
	NewClientSecret string // shown this once

	Sessions          []Session
	CanChangePassword bool // own accounts can
	PasswordLength    int  // the least that a new one has, in characters

	Notice Notice       // what has just been done
	Fault  AccountFault // what could not be done
	Values AccountValues
}

// AccountValues are what was typed into a form that could not be taken.
type AccountValues struct {
	TokenName   string
	TokenScopes []string
	ClientID    string // the client that was to be changed; empty: a new one
	ClientName  string
	RedirectURI string // one a line
	Public      bool
}

// Action is what a form of the account page asks for, the value of its field action.
type Action string

// The actions of the account page, and the fields that go with them.
const (
	ActionDisconnect     Action = "disconnect"      // client_id
	ActionCreateToken    Action = "create_token"    // name, scopes (more than one), lifetime in seconds
	ActionRevokeToken    Action = "revoke_token"    // token_id
	ActionCreateClient   Action = "create_client"   // name, redirect (one a line), public (on or absent)
	ActionUpdateClient   Action = "update_client"   // client_id, name, redirect
	ActionNewSecret      Action = "new_secret"      // client_id
	ActionDeleteClient   Action = "delete_client"   // client_id
	ActionEndSession     Action = "end_session"     // session_id
	ActionEndSessions    Action = "end_sessions"    // all but this one
	ActionChangePassword Action = "change_password" // current_password, new_password
)

// Notice tells what has been done: each has a text, notice.<value>.
type Notice string

// What the account page can tell of.
const (
	NoticeDisconnected    Notice = "disconnected"
	NoticeTokenCreated    Notice = "token_created"
	NoticeTokenRevoked    Notice = "token_revoked"
	NoticeClientCreated   Notice = "client_created"
	NoticeClientUpdated   Notice = "client_updated"
	NoticeSecretCreated   Notice = "secret_created"
	NoticeClientDeleted   Notice = "client_deleted"
	NoticeSessionEnded    Notice = "session_ended"
	NoticeSessionsEnded   Notice = "sessions_ended"
	NoticePasswordChanged Notice = "password_changed"
)

// Notices are all of them.
var Notices = []Notice{
	NoticeDisconnected, NoticeTokenCreated, NoticeTokenRevoked, NoticeClientCreated, NoticeClientUpdated,
	NoticeSecretCreated, NoticeClientDeleted, NoticeSessionEnded, NoticeSessionsEnded, NoticePasswordChanged,
}

// AccountFault is what is wrong with a form of the account page.
type AccountFault struct {
	Kind       AccountFaultKind // empty: nothing is
	Value      string           // what it is about, e.g. a redirect URI
	RetryAfter time.Duration    // with WrongPasswordTooMany
}

// AccountFaultKind says what is wrong; each has a text, account_fault.<value>.
type AccountFaultKind string

// What can be wrong with a form of the account page. The first part is the field that it is about.
const (
	TokenNameMissing     AccountFaultKind = "token_name.missing"
	TokenNameInvalid     AccountFaultKind = "token_name.invalid"
	TokenScopesInvalid   AccountFaultKind = "token_scopes.invalid"
	TokenTooMany         AccountFaultKind = "token_name.too_many"
	ClientNameMissing    AccountFaultKind = "client_name.missing"
	ClientNameInvalid    AccountFaultKind = "client_name.invalid"
	ClientRedirect       AccountFaultKind = "client_redirect.invalid"
	ClientRedirectHTTP   AccountFaultKind = "client_redirect.http" // without TLS, and not to the own computer
	ClientRedirectNone   AccountFaultKind = "client_redirect.missing"
	ClientTooMany        AccountFaultKind = "client_name.too_many"
	PasswordWrong        AccountFaultKind = "password_current.wrong"
	PasswordWrongTooMany AccountFaultKind = "password_current.too_many"
	PasswordShort        AccountFaultKind = "password_new.short"
	PasswordLong         AccountFaultKind = "password_new.long"
	PasswordCommon       AccountFaultKind = "password_new.common"
	Gone                 AccountFaultKind = "gone"    // what was to be changed is no more
	Expired              AccountFaultKind = "expired" // the form was too old or another's: CSRF
)

// AccountFaultKinds are all of them.
var AccountFaultKinds = []AccountFaultKind{
	TokenNameMissing, TokenNameInvalid, TokenScopesInvalid, TokenTooMany, ClientNameMissing, ClientNameInvalid,
	ClientRedirect, ClientRedirectHTTP, ClientRedirectNone, ClientTooMany, PasswordWrong, PasswordWrongTooMany,
	PasswordShort, PasswordLong, PasswordCommon, Gone, Expired,
}

// Field is the field that the fault is about: "token_name", "password_new", …; empty when it is about none.
func (f AccountFault) Field() string {
	field, _, ok := strings.Cut(string(f.Kind), ".")
	if !ok {
		return ""
	}
	return field
}

// Fault is the error page.
type Fault struct {
	Prefix     string
	Kind       FaultKind
	Detail     string        // for the developer of the app, in English; empty: none
	RetryAfter time.Duration // zero: not told
}

// FaultKind says what is wrong; each has a title and a text, fault.<value>.title and fault.<value>.text.
type FaultKind string

// The faults that have a page.
const (
	FaultClient      FaultKind = "client"      // there is no such app, or it is off
	FaultRedirect    FaultKind = "redirect"    // the address is not one of the app's
	FaultRequest     FaultKind = "request"     // the app asks in a way that nobody understands; Detail tells
	FaultExpired     FaultKind = "expired"     // the form is too old, has been sent already, or came from elsewhere
	FaultForbidden   FaultKind = "forbidden"   // the person may not give what is asked for
	FaultNotFound    FaultKind = "not_found"   // there is no such page
	FaultMethod      FaultKind = "method"      // not in this way
	FaultTooMany     FaultKind = "too_many"    // try again later
	FaultUnavailable FaultKind = "unavailable" // storage or keys are away
	FaultInternal    FaultKind = "internal"    // ours
)

// FaultKinds are all of them.
var FaultKinds = []FaultKind{
	FaultClient, FaultRedirect, FaultRequest, FaultExpired, FaultForbidden, FaultNotFound, FaultMethod,
	FaultTooMany, FaultUnavailable, FaultInternal,
}

// FormPost brings an answer to an app by POST (OAuth 2.0 Form Post Response Mode). There is no script that sends it, so
// the person presses a button.
type FormPost struct {
	Prefix      string
	RedirectURI string
	Client      string // the app's name; empty: not told
	Params      [][2]string
}

func (Login) page() string     { return "login" }
func (Logout) page() string    { return "logout" }
func (SignedOut) page() string { return "signed_out" }
func (Consent) page() string   { return "consent" }
func (Device) page() string    { return "device" }
func (Account) page() string   { return "account" }
func (Fault) page() string     { return "error" }
func (FormPost) page() string  { return "form_post" }

func (v Login) prefix() string     { return v.Prefix }
func (v Logout) prefix() string    { return v.Prefix }
func (v SignedOut) prefix() string { return v.Prefix }
func (v Consent) prefix() string   { return v.Prefix }
func (v Device) prefix() string    { return v.Prefix }
func (v Account) prefix() string   { return v.Prefix }
func (v Fault) prefix() string     { return v.Prefix }
func (v FormPost) prefix() string  { return v.Prefix }
