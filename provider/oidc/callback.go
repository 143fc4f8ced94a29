package oidc

import (
	"fmt"
	"net/url"

	"github.com/go-idbroker/idbroker/provider"
)

const maxParam = 8 << 10

// codeOf returns the authorization code of the provider's answer. Whether the answer is this provider's at all is looked at
// before anything that it says, an error included (RFC 9207 §2.4).
func (p *Provider) codeOf(up *upstream, params url.Values) (string, error) {
	answer := make(map[string]string, 5)
	for _, name := range []string{"state", "iss", "code", "error", "error_description"} {
		switch values := params[name]; {
		case len(values) > 1:
			return "", fail(provider.Invalid, "answer: %d times %q", len(values), name)
		case len(values) == 1 && len(values[0]) > maxParam:
			return "", fail(provider.Invalid, "answer: %q has %d bytes", name, len(values[0]))
		case len(values) == 1:
			answer[name] = values[0]
		}
	}
	if answer["state"] == "" {
		return "", fail(provider.Invalid, "answer: no state")
	}
	if err := p.checkResponseIssuer(up, params.Has("iss"), answer["iss"]); err != nil {
		return "", err
	}
	switch {
	case params.Has("error") && params.Has("code"):
		return "", fail(provider.Invalid, "answer: both a code and an error")
	case params.Has("error"):
		return "", refusal(answer["error"], answer["error_description"])
	case answer["code"] == "":
		return "", fail(provider.Invalid, "answer: neither a code nor an error")
	}
	return answer["code"], nil
}

func (p *Provider) checkResponseIssuer(up *upstream, there bool, iss string) error {
	if !there {
		if up.responseIss {
			return fail(provider.Invalid, "answer: no issuer, which this provider always sends")
		}
		return nil
	}
	if _, ok := p.issuers.accept(iss); !ok {
		return fail(provider.Invalid, "answer: issuer is %s, want %q", quote(iss), p.cfg.Issuer)
	}
	return nil
}

// refusal is the error for an error that came through the browser.
func refusal(code, description string) error {
	kind, ok := kindOf(code)
	if !ok {
		kind = provider.Invalid
	}
	if code == "temporarily_unavailable" && description == "authentication_expired" {
		kind = provider.Expired // Keycloak's way to say that its own login page was too old
	}
	e := &provider.Error{Kind: kind, Code: safeCode(code)}
	if description != "" {
		e.Err = fmt.Errorf("upstream says %s", quote(description))
	}
	return e
}

// kindOf knows the errors of RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6, RFC 8707 and of well-known vendors.
func kindOf(code string) (provider.Kind, bool) {
	switch code {
	case "access_denied", "user_cancelled_authorize", "user_cancelled_login", "unmet_authentication_requirements":
		return provider.Denied, true
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return provider.LoginRequired, true
	case "temporarily_unavailable", "server_error":
		return provider.Unavailable, true
	case "invalid_grant":
		return provider.Expired, true
	case "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "invalid_target", "unsupported_grant_type",
		"unsupported_response_type", "invalid_request_uri", "invalid_request_object", "request_not_supported",
		"request_uri_not_supported", "registration_not_supported", "invalid_redirect_uri":
		return provider.Misconfigured, true
	}
	return provider.Invalid, false
}

// safeCode returns code if it is one, RFC 6749 §5.2.
func safeCode(code string) string {
	if len(code) > 64 || !isWord(code) {
		return ""
	}
	return code
}

// quote makes what somebody else wrote fit for a line of a log.
func quote(s string) string {
	const enough = 200
	if len(s) > enough {
		return fmt.Sprintf("%q…", s[:enough])
	}
	return fmt.Sprintf("%q", s)
}
