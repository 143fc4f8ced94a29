package op

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/login"
)

// paramBack is set by the links that lead back to an application whose answers are posted, which no link can do.
const paramBack = "idp_back"

// readResponseMode comes first: the refusals of all other checks go the way that it names. One that it refuses itself goes
// in the query.
func (req *authRequest) readResponseMode(params url.Values) error {
	modes := params["response_mode"]
	if len(modes) > 1 {
		return &authError{"invalid_request", errRepeated.Error()}
	}
	switch params.Get("response_mode") {
	case "", "query":
		return nil
	case "form_post":
		// Browsers post to no native app.
		if strings.HasPrefix(req.redirectURI, "https://") || strings.HasPrefix(req.redirectURI, "http://") {
			req.formPost = true
			return nil
		}
		return &authError{"invalid_request", "response_mode form_post needs an http or https redirect_uri"}
	}
	return &authError{"invalid_request", "the only response_modes are query and form_post"}
}

// success returns the answer with a code; RFC 9207 has the issuer in it.
func (req *authRequest) success(issuer, code string) login.Answer {
	params := url.Values{"code": {code}, "iss": {issuer}}
	if req.status != "" {
		params.Set(paramAction, linkAction+req.link)
		params.Set("kc_action_status", req.status)
	}
	return req.answer(params)
}

func (req *authRequest) failure(issuer, code, description string) login.Answer {
	params := url.Values{"error": {code}, "iss": {issuer}}
	if description != "" {
		params.Set("error_description", description)
	}
	return req.answer(params)
}

// answer sends the parameters to the redirect URI, in its query or as a form (OAuth 2.0 Form Post Response Mode §2).
func (req *authRequest) answer(params url.Values) login.Answer {
	if req.state != "" {
		params.Set("state", req.state)
	}
	if req.formPost {
		return login.Answer{URL: req.redirectURI, Form: params}
	}
	separator := "?"
	if strings.Contains(req.redirectURI, "?") {
		separator = "&"
	}
	return login.Answer{URL: req.redirectURI + separator + params.Encode()}
}

// denial is the answer when the user goes back without a login.
func (p *Provider) denial(req *authRequest) login.Answer {
	return req.failure(p.issuer(), "access_denied", "the user went back")
}

// back returns the address of a link that leads there.
func (p *Provider) back(req *authRequest) string {
	if !req.formPost {
		return p.denial(req).URL
	}
	return p.issuer() + req.start() + "&" + paramBack + "=1"
}

// start is the path and query that begin the same request again.
func (req *authRequest) start() string { return "/authorize?" + req.sent.Encode() }

// application is what the client is called on pages.
func (req *authRequest) application() string { return cmp.Or(req.client.Name, req.client.ID) }
