package saml

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the standard's name for who sent an artifact; nothing depends on it alone
	"errors"
	"fmt"
	"net/http"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

const (
	artifactType = 4
	artifactSize = 2 + 2 + 20 + 20 // type, endpoint, source, handle
)

// inbound returns the answer by the configured binding, fetching it if an artifact came in its place.
func (p *Provider) inbound(ctx context.Context, cb provider.Callback) (*inbound, error) {
	if p.cfg.ResponseBinding == HTTPArtifact {
		return p.resolve(ctx, cb)
	}
	in, err := receive("SAMLResponse", cb.URL, cb.Params, p.cfg.ResponseBinding)
	if err != nil {
		return nil, fail(provider.Invalid, "answer: %w", err)
	}
	return in, nil
}

// resolve exchanges an artifact for the answer that it stands for (SAML Bindings §3.6, Profiles §5). What comes is checked
// as if the browser had brought it: it has to be signed.
func (p *Provider) resolve(ctx context.Context, cb provider.Callback) (*inbound, error) {
	if len(cb.Params["SAMLart"]) != 1 || len(cb.Params["RelayState"]) > 1 {
		return nil, fail(provider.Invalid, "answer: %d artifacts", len(cb.Params["SAMLart"]))
	}
	artifact := cb.Params.Get("SAMLart")
	in := &inbound{relayState: cb.Params.Get("RelayState")}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkArtifact(artifact, up.entityID); err != nil {
		return nil, fail(provider.Invalid, "answer: %w", err)
	}
	m := p.newMessage("ArtifactResolve", up.artifacts)
	m.root.CreateElement("samlp:Artifact").SetText(artifact)
	body, err := p.ask(ctx, up.artifacts, m)
	if err != nil {
		return nil, err
	}
	err = p.withKeys(ctx, func(up *upstream) (err error) {
		in.data, in.covered, err = p.unpack(up, body, m.id)
		return err
	})
	if err != nil {
		return nil, invalid("artifact", err)
	}
	return in, nil
}

// checkArtifact looks whether it is one of this identity provider.
func checkArtifact(artifact, entityID string) error {
	b, err := decodeBase64(artifact)
	if err != nil || len(b) != artifactSize || b[0] != 0 || b[1] != artifactType {
		return errors.New("the artifact is none")
	}
	if source := sha1.Sum([]byte(entityID)); !bytes.Equal(b[4:24], source[:]) { //nolint:gosec // as above
		return errors.New("the artifact is by another identity provider")
	}
	return nil
}

// ask sends a message of ours by SOAP and returns the answer.
func (p *Provider) ask(ctx context.Context, to string, m *message) ([]byte, error) {
	if key := p.signingKey(); key != nil {
		if err := key.envelop(p.cfg.SignatureAlgorithm, m.root); err != nil {
			return nil, fail(provider.Misconfigured, "sign artifact request: %w", err)
		}
	}
	envelope := etree.NewElement("soap:Envelope")
	envelope.CreateAttr("xmlns:soap", nsSOAP)
	envelope.CreateElement("soap:Body").AddChild(m.root)
	data, err := (&message{root: envelope}).bytes()
	if err != nil {
		return nil, fail(provider.Misconfigured, "resolve artifact: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(data))
	if err != nil {
		return nil, fail(provider.Misconfigured, "resolve artifact: bad address")
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("SOAPAction", `"http://www.oasis-open.org/committees/security"`)
	status, body, err := p.do(req, ofMessage.bytes)
	switch {
	case err != nil:
		return nil, fail(provider.Unavailable, "resolve artifact at %s: %w", redact(to), err)
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, fail(provider.Unavailable, "resolve artifact at %s: status %d", redact(to), status)
	case status != http.StatusOK:
		return nil, fail(provider.Misconfigured, "resolve artifact at %s: status %d", redact(to), status)
	}
	return body, nil
}

// unpack returns the Response in an ArtifactResponse, as a document, and whether the signature around it covers it.
func (p *Provider) unpack(up *upstream, body []byte, request string) (data []byte, covered bool, err error) {
	root, err := parse(body, ofMessage)
	if err != nil {
		return nil, false, err
	}
	if !is(root, nsSOAP, "Envelope") {
		return nil, false, fmt.Errorf("it is a %s", quote(root.Tag))
	}
	soap, err := one(root, nsSOAP, "Body")
	if err != nil {
		return nil, false, err
	}
	e, err := one(soap, nsProtocol, "ArtifactResponse")
	if err != nil {
		return nil, false, err
	}
	if hasSignature(e) {
		keys, err := p.keys(up)
		if err != nil {
			return nil, false, err
		}
		if e, err = verified(e, keys, ofMessage); err != nil {
			return nil, false, err
		}
		covered = true
	}
	if err := p.checkResolved(up, e, request); err != nil {
		return nil, false, err
	}
	response, err := one(e, nsProtocol, "Response")
	if err != nil {
		return nil, false, err
	}
	inherit(response, response.Parent())
	data, err = (&message{root: response}).bytes()
	return data, covered, err
}

func (p *Provider) checkResolved(up *upstream, e *etree.Element, request string) error {
	if !is(e, nsProtocol, "ArtifactResponse") {
		return errors.New("no ArtifactResponse was signed")
	}
	h, err := readHeader(e)
	if err != nil {
		return err
	}
	if h.issuer != "" && h.issuer != up.entityID {
		return fmt.Errorf("issuer is %s, want %q", quote(h.issuer), up.entityID)
	}
	if err := checkRequest(h.inResponseTo, request); err != nil {
		return err
	}
	s, err := readStatus(e)
	if err != nil {
		return err
	}
	if err := s.err(); err != nil {
		return err
	}
	if len(all(e, nsProtocol, "Response")) == 0 {
		return fail(provider.Expired, "the artifact stands for nothing, or was used before")
	}
	return p.checkIssued(h.issued)
}
