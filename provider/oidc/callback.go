package oidc

import (
	"net/url"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// codeOf returns the authorization code of the provider's answer. Whether the answer is this provider's at all is looked at
// before anything that it says, an error included (RFC 9207 §2.4).
func (p *Provider) codeOf(up *upstream, params url.Values) (string, error) {
	return oauth.CodeOf(params, func(there bool, iss string) error { return p.checkResponseIssuer(up, there, iss) })
}

func (p *Provider) checkResponseIssuer(up *upstream, there bool, iss string) error {
	if !there {
		if up.responseIss {
			return fail(provider.Invalid, "answer: no issuer, which this provider always sends")
		}
		return nil
	}
	if _, ok := p.issuers.accept(iss); !ok {
		return fail(provider.Invalid, "answer: issuer is %s, want %q", oauth.Quote(iss), p.cfg.Issuer)
	}
	return nil
}
