package hardening

import "encoding/json"

// workOtherSessions signs in twice, and ends in one session all others.
func (h *house) workOtherSessions(say say) error {
	who := oneOf(ender)
	other, err := h.signIn(who, password)
	if err != nil {
		return err
	}
	own, err := h.signIn(who, password)
	if err != nil {
		return err
	}
	if _, err := h.submit("/oauth/account", own, "action", "end_sessions"); err != nil {
		return err
	}
	say("no-session", other)
	return nil
}

// revocations revokes refresh tokens (RFC 7009).
func revocations() job { return asOne(coder, (*house).workRevocation) }

func (h *house) workRevocation(session string, say say) error {
	answer, err := h.connect("app", session)
	if err != nil {
		return err
	}
	if _, err := h.post("/oauth/revoke", "app", "", "token", answer.Refresh); err != nil {
		return err
	}
	say("dead-refresh", answer.Refresh)
	say("dead", answer.Access) // section 2.1: with the refresh token ends what it gave
	return nil
}

// denials refuses devices what they ask for.
func denials() job { return asOne(coder, (*house).workDenial) }

func (h *house) workDenial(session string, say say) error {
	body, err := h.post("/oauth/device/code", "tv", secret, "scope", "read")
	if err != nil {
		return err
	}
	var device struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
	}
	if err := json.Unmarshal(body, &device); err != nil {
		return err
	}
	if _, err := h.submit("/oauth/device", session, "user_code", device.UserCode, "decision", "deny"); err != nil {
		return err
	}
	say("denied", device.Code)
	return nil
}
