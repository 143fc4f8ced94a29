// Package oauth is what clients of OAuth 2.0 share: the answer that a browser brings (RFC 6749 §4.1.2), the request to the token
// endpoint and how the client authenticates in it, and what errors mean.
//
//	code, err := oauth.CodeOf(params, checkIssuer)
//	…
//	req, err := client.TokenRequest(ctx, tokenURL, form)
//	status, contentType, body, err := oauth.Do(httpClient, req)
package oauth

import (
	"fmt"
	"net/url"

	"github.com/go-idbroker/idbroker/provider"
)

const maxParam = 8 << 10

// CodeOf returns the authorization code of the answer that a browser brought. checkIssuer looks at the parameter "iss" (RFC 9207),
// whether or not it is there, before anything that the answer says, an error included (§2.4).
func CodeOf(params url.Values, checkIssuer func(there bool, iss string) error) (string, error) {
	answer := make(map[string]string, 5)
	for _, name := range []string{"state", "iss", "code", "error", "error_description"} {
		switch values := params[name]; {
		case len(values) > 1:
			return "", Fail(provider.Invalid, "answer: %d times %q", len(values), name)
		case len(values) == 1 && len(values[0]) > maxParam:
			return "", Fail(provider.Invalid, "answer: %q has %d bytes", name, len(values[0]))
		case len(values) == 1:
			answer[name] = values[0]
		}
	}
	if answer["state"] == "" {
		return "", Fail(provider.Invalid, "answer: no state")
	}
	if err := checkIssuer(params.Has("iss"), answer["iss"]); err != nil {
		return "", err
	}
	switch {
	case params.Has("error") && params.Has("code"):
		return "", Fail(provider.Invalid, "answer: both a code and an error")
	case params.Has("error"):
		return "", Refusal(answer["error"], answer["error_description"])
	case answer["code"] == "":
		return "", Fail(provider.Invalid, "answer: neither a code nor an error")
	}
	return answer["code"], nil
}

// Fail returns a [*provider.Error].
func Fail(kind provider.Kind, format string, args ...any) error {
	return &provider.Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Refusal is the error for an error that came through the browser.
func Refusal(code, description string) error {
	kind, ok := KindOf(code)
	if !ok {
		kind = provider.Invalid
	}
	if code == "temporarily_unavailable" && description == "authentication_expired" {
		kind = provider.Expired // Keycloak's way to say that its own login page was too old
	}
	e := &provider.Error{Kind: kind, Code: SafeCode(code)}
	if description != "" {
		e.Err = fmt.Errorf("upstream says %s", Quote(description))
	}
	return e
}

// KindOf knows the errors of RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6, RFC 8707 and of well-known vendors.
func KindOf(code string) (provider.Kind, bool) {
	switch code {
	case "access_denied", "user_cancelled_authorize", "user_cancelled_login", "unmet_authentication_requirements",
		"unauthorized": // Auth0: an action there refused
		return provider.Denied, true
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return provider.LoginRequired, true
	case "temporarily_unavailable", "server_error":
		return provider.Unavailable, true
	case "invalid_grant", "bad_verification_code", "bad_refresh_token", "invalid_refresh_token", "invalid_code", "code_already_used", "code_expired":
		return provider.Expired, true // the first is RFC 6749's, the others are GitHub's and Slack's
	case "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "invalid_target", "unsupported_grant_type",
		"unsupported_response_type", "invalid_request_uri", "invalid_request_object", "request_not_supported",
		"request_uri_not_supported", "registration_not_supported", "invalid_redirect_uri", "redirect_uri_mismatch", "application_suspended":
		return provider.Misconfigured, true
	}
	return provider.Invalid, false
}

// SafeCode returns code if it is one, RFC 6749 §5.2.
func SafeCode(code string) string {
	if len(code) > 64 || !IsWord(code) {
		return ""
	}
	return code
}

// Quote makes what somebody else wrote fit for a line of a log.
func Quote(s string) string {
	const enough = 200
	if len(s) > enough {
		return fmt.Sprintf("%q…", s[:enough])
	}
	return fmt.Sprintf("%q", s)
}
