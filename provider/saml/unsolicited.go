package saml

import (
	"context"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
)

var _ provider.Unsolicited = (*Provider)(nil)

// FinishUnsolicited verifies an answer that nobody asked for here, if Config.Unsolicited allows that with its RelayState.
// All checks of an answer are made; that it says to answer no request is one of them, so that somebody else's answer to a
// request cannot be brought as one without.
func (p *Provider) FinishUnsolicited(ctx context.Context, cb provider.Callback) (*provider.Identity, string, error) {
	if len(p.cfg.Unsolicited) == 0 {
		return nil, "", fail(provider.Invalid, "an answer that nobody asked for (Config.Unsolicited allows them)")
	}
	in, err := p.inbound(ctx, cb)
	if err != nil {
		return nil, "", err
	}
	target, ok := p.cfg.Unsolicited[in.relayState]
	if !ok {
		return nil, "", fail(provider.Invalid, "an answer that nobody asked for, with the RelayState %s", quote(in.relayState))
	}
	at, _, _ := strings.Cut(cb.URL, "?")
	l := &login{ACS: at, Begun: p.now().Unix()}
	if p.cfg.AuthnContextComparison == CompareExact {
		l.Classes = p.cfg.AuthnContextClasses
	}
	in.keep = cb.KeepTokens
	identity, err := p.accept(ctx, in, l)
	return identity, target, err
}
