package pages

import "time"

// samples are views that go through every branch of every template.
func samples() []View {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	scopes := []Scope{{Name: "read", Description: "See your orders"}, {Name: "write", New: true}}
	app := App{ID: "7", Name: "Orders sync", Owner: "jane", Scopes: scopes, Since: now}
	ours := App{ID: "8", Name: "Orders", FirstParty: true, Since: now}
	views := []View{
		Login{},
		Login{
			Prefix: "/oauth", CSRF: "t", Return: "/oauth/authorize?client_id=7", Username: "jane", Client: app.Name,
			Fault: LoginWrong,
		},
		Login{Fault: LoginTooMany, RetryAfter: 90 * time.Second},
		Login{Fault: LoginUnavailable},
		Login{Fault: LoginExpired},
		Logout{Prefix: "/oauth", CSRF: "t", Return: "/oauth/account", Username: "jane"},
		SignedOut{Prefix: "/oauth"},
		Consent{Username: "jane", Client: ours, RedirectHost: "app.example"},
		Consent{
			Prefix: "/oauth", CSRF: "t", RequestID: "r", Username: "jane", DisplayName: "Jane", Client: app,
			RedirectHost: "127.0.0.1:1234", LocalOnly: true, Scopes: scopes,
		},
		Device{Step: DeviceEnter},
		Device{Step: DeviceEnter, UserCode: "BCDF-GHJK"},
		Device{Step: DeviceEnter, UserCode: "BCDF", Fault: DeviceUnknown},
		Device{Step: DeviceEnter, UserCode: "BCDF", Fault: DeviceTooMany, RetryAfter: time.Minute},
		Device{Prefix: "/oauth", CSRF: "t", Step: DeviceConfirm, UserCode: "BCDF-GHJK", Username: "jane", Client: app,
			Scopes: scopes},
		Device{Step: DeviceDone},
		Device{Step: DeviceDenied},
		Account{Username: "jane"},
		FormPost{RedirectURI: "https://app.example/cb"},
		FormPost{Prefix: "/oauth", RedirectURI: "https://app.example/cb", Client: app.Name,
			Params: [][2]string{{"code", "c"}, {"state", "s"}}},
	}
	full := Account{
		Prefix: "/oauth", CSRF: "t", Username: "jane", DisplayName: "Jane", Email: "jane@example.com",
		Apps: []App{app, ours}, PersonalTokens: true, OwnClients: true, CanChangePassword: true, PasswordLength: 8,
		Tokens: []PersonalToken{
			{ID: "1", Name: "backup", Scopes: scopes, Created: now, Expires: now.AddDate(1, 0, 0), LastUsed: now},
			{ID: "2", Name: "unused", Created: now, Expires: now.AddDate(1, 0, 0)},
		},
		AvailableScopes: scopes,
		TokenLifetimes:  []time.Duration{7 * 24 * time.Hour, 30 * 24 * time.Hour},
		Clients: []OwnClient{
			{ID: "3", Name: "My app", RedirectURIs: []string{"https://my.example/cb"}, Confidential: true, Created: now},
			{ID: "4", Name: "My other app", Disabled: true, Created: now},
		},
		Sessions: []Session{
			{ID: "5", Device: "Firefox on Linux", IP: "203.0.113.7", Since: now, Seen: now, Current: true},
			{ID: "6", Since: now, Seen: time.Now().Add(-3 * time.Hour)},
		},
	}
	views = append(views, full)
	for _, notice := range Notices {
		v := full
		v.Notice, v.NewToken, v.NewTokenName = notice, "passport_pat_x", "backup"
		v.NewClientID, v.NewClientSecret = "9", "passport_secret_x"
		views = append(views, v)
	}
	for _, kind := range AccountFaultKinds {
		v := full
		v.Fault = AccountFault{Kind: kind, Value: "ftp://my.example", RetryAfter: time.Minute}
		v.Values = AccountValues{TokenName: "x", TokenScopes: []string{"read"}, ClientName: "x", Public: true}
		views = append(views, v)
		v.Values.ClientID = "3"
		views = append(views, v)
	}
	for _, kind := range FaultKinds {
		views = append(views,
			Fault{Kind: kind},
			Fault{Prefix: "/oauth", Kind: kind, Detail: "The scope is unknown.", RetryAfter: 5 * time.Second})
	}
	return views
}
