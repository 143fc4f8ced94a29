package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// dpopPurpose is that of the marks of proofs that were used: no nonce of ours is in a proof, so that it is its jti and the
// moment it was made that keep it from being used twice or late (RFC 9449 §8 leaves the nonce to the server).
const dpopPurpose = "dpop"

// A possession is what a token request proves to hold (RFC 9449 §5).
type possession struct {
	proof *token.Proof
	spent bool
}

type possessionKey struct{}

// possess returns r with what its DPoP header proves. A proof need not be there unless the client is registered so, but must
// be right if it is. With an error it returns r as it was.
func (p *Provider) possess(r *http.Request, client *store.Client) (*http.Request, error) {
	proof, err := p.proof(r)
	if err == nil && proof == nil && client.RequireDPoP {
		err = invalidProof(errors.New("this client must bring one"))
	}
	if err != nil || proof == nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), possessionKey{}, &possession{proof: proof})), nil
}

// provenKey returns the thumbprint of the key that the request has proved to hold, "" if it has proved none.
func provenKey(ctx context.Context) string {
	if has, ok := ctx.Value(possessionKey{}).(*possession); ok {
		return has.proof.JKT
	}
	return ""
}

// proof verifies the DPoP header of a request; it is nil if there is none. The URL that it has to be for is made of the
// BaseURL, whatever the Host header.
func (p *Provider) proof(r *http.Request) (*token.Proof, error) {
	sent := r.Header.Values("DPoP")
	switch len(sent) {
	case 0:
		return nil, nil
	case 1:
		proof, err := token.ParseProof(sent[0], r.Method, p.issuer()+r.URL.Path, p.Now())
		if err != nil {
			return nil, invalidProof(err)
		}
		return proof, nil
	}
	return nil, invalidProof(errors.New("more than one"))
}

// errProof is in every error about a proof.
var errProof = errors.New("op: invalid DPoP proof")

// invalidProof is the one answer to everything that is wrong with a proof (RFC 9449 §5).
func invalidProof(err error) error {
	return &oauthError{http.StatusBadRequest, "invalid_dpop_proof", "the DPoP proof is missing, invalid, or was used before",
		errors.Join(errProof, err)}
}

// spend marks the proof as used; of any number of requests with it one gets further.
func (p *Provider) spend(ctx context.Context, proof *token.Proof) error {
	err := p.Store.Add(ctx, dpopPurpose, proof.Key, nil, proof.Until)
	if errors.Is(err, store.ErrExists) {
		return invalidProof(errors.New("used before"))
	}
	return err
}

// spendProof marks the proof of the request as used, once for each request. It waits until the request is known to be good
// otherwise: who only has a public client's name writes nothing to the store.
func (p *Provider) spendProof(ctx context.Context) error {
	has, ok := ctx.Value(possessionKey{}).(*possession)
	if !ok || has.spent {
		return nil
	}
	if err := p.spend(ctx, has.proof); err != nil {
		return err
	}
	has.spent = true
	return nil
}

// unproven says that the grant is bound to a key which the request does not prove to hold, "" if it need not or does.
func unproven(ctx context.Context, g *store.Grant) string {
	if g.JKT != "" && g.JKT != provenKey(ctx) {
		return "bound to a key that the request does not prove to hold"
	}
	return ""
}

// bind holds g to the key that the request proves, before the grant is written. It is for every grant type that has a
// grant: the code may be bound by dpop_jkt (RFC 9449 §10), and the refresh tokens of a public client are bound from the first
// proof on (§5). Those of a client that authenticates are bound to the client already.
func (p *Provider) bind(ctx context.Context, client *store.Client, g *store.Grant) error {
	if why := unproven(ctx, g); why != "" {
		return invalidGrant(why)
	}
	if err := p.spendProof(ctx); err != nil {
		return err
	}
	g.JKT = ""
	if client.AuthMethod == store.AuthNone {
		g.JKT = provenKey(ctx)
	}
	return nil
}

// bound says to which key an access token is bound (RFC 9449 §6.1).
type bound struct {
	JKT string `json:"jkt"`
}

// signAccess signs an access token, bound to the key that the request proves to hold if it does, and returns the token's type
// as well. Every access token is signed here.
func (p *Provider) signAccess(
	ctx context.Context, ring *token.Ring, client *store.Client, claims accessClaims, now time.Time,
) (raw, tokenType string, err error) {
	tokenType = "Bearer"
	if err := p.spendProof(ctx); err != nil {
		return "", "", err
	}
	if jkt := provenKey(ctx); jkt != "" {
		claims.Bound, tokenType = &bound{jkt}, "DPoP"
	}
	raw, err = ring.Sign(now, accessTokenAlg(client), token.AccessToken, tell(claims, claims.more))
	return raw, tokenType, err
}

// checkSender verifies that an access token was sent by the one it was issued to (RFC 9449 §7): one that is bound to a key by
// the scheme DPoP with a proof for this very token, any other as a bearer token. The proof is used up.
func (p *Provider) checkSender(r *http.Request, raw string, dpop bool, claims *token.Claims) error {
	jkt, err := claims.JKT()
	switch {
	case err != nil:
		return errors.Join(errToken, err)
	case dpop != (jkt != ""):
		return errors.Join(errToken, errors.New("sent by another scheme than it was issued for"))
	case !dpop:
		return nil
	}
	proof, err := p.proof(r)
	switch {
	case err != nil:
		return err
	case proof == nil:
		return invalidProof(errors.New("missing"))
	case !proof.Covers(raw, claims):
		return errors.Join(errToken, errors.New("not bound to the key of the proof, or the proof is another token's"))
	}
	return p.spend(r.Context(), proof)
}

// readJKT reads the key that the code is to be bound to (RFC 9449 §10).
func (req *authRequest) readJKT(params url.Values) error {
	req.jkt = params.Get("dpop_jkt")
	if req.jkt != "" && !isChallenge(req.jkt) {
		return &authError{"invalid_request", "dpop_jkt is not the base64url of a SHA-256"}
	}
	return nil
}

// pushJKT has a proof that comes with a pushed request stand for dpop_jkt (RFC 9449 §10.1), and returns it to be spent once
// the request is known to be good. Both must be the same.
func (p *Provider) pushJKT(r *http.Request, form url.Values) (*token.Proof, error) {
	proof, err := p.proof(r)
	if proof == nil || err != nil {
		return nil, err
	}
	if sent := form.Get("dpop_jkt"); sent != "" && sent != proof.JKT {
		return nil, invalidProof(errors.New("another key than dpop_jkt"))
	}
	form.Set("dpop_jkt", proof.JKT)
	return proof, nil
}

// dpopChallenge is the challenge of a protected resource for the scheme DPoP (RFC 9449 §7.1).
func dpopChallenge(realm string) string {
	return `DPoP realm="` + realm + `", algs="` + strings.Join(proofAlgs, " ") + `"`
}

// proofAlgs are the algorithms of proofs.
var proofAlgs = []string{token.ES256, token.EdDSA, token.PS256, token.RS256}
