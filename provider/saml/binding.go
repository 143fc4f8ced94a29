package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

// A Binding is a way in which a message travels (SAML Bindings §3).
type Binding string

// The bindings. Each field of [Config] says which of them it takes and what its zero value means.
const (
	HTTPRedirect Binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	HTTPPost     Binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	HTTPArtifact Binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"
)

const (
	maxEncoded  = 2 << 20  // of a message in a form
	maxDeflated = 64 << 10 // of one in a query
	maxInflated = 256 << 10
	deflate     = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
)

// An inbound is a message as it arrived.
type inbound struct {
	data       []byte // the document
	relayState string
	detached   *detached // for HTTP-Redirect, nil if it was not signed
	covered    bool      // by a signature that was verified already
	keep       bool      // the identity is to have the assertion
}

// A detached signature stands in the query beside what it covers (SAML Bindings §3.4.4.1).
type detached struct {
	covered   []byte
	algorithm string
	value     []byte
}

// receive reads the parameter, SAMLRequest or SAMLResponse, of a message that came by one of the bindings. It looks at
// nothing but sizes and encodings.
func receive(name, requested string, params url.Values, allowed ...Binding) (*inbound, error) {
	_, rawQuery, _ := strings.Cut(requested, "?")
	query, err := splitQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	binding := HTTPPost
	if _, there := query[name]; there {
		binding = HTTPRedirect
	}
	ok := false
	for _, b := range allowed {
		ok = ok || b == binding
	}
	if !ok {
		return nil, fmt.Errorf("it came by %s", binding[strings.LastIndex(string(binding), ":")+1:])
	}
	if binding == HTTPRedirect {
		return receiveRedirect(name, query)
	}
	if len(params[name]) != 1 || len(params["RelayState"]) > 1 {
		return nil, fmt.Errorf("%d times %s, %d times RelayState", len(params[name]), name, len(params["RelayState"]))
	}
	encoded := params.Get(name)
	if len(encoded) > maxEncoded {
		return nil, fmt.Errorf("%s has %d bytes", name, len(encoded))
	}
	in := &inbound{relayState: params.Get("RelayState")}
	if in.data, err = decodeBase64(encoded); err != nil {
		return nil, fmt.Errorf("%s is no base64", name)
	}
	return in, nil
}

func receiveRedirect(name string, query map[string]string) (*inbound, error) {
	in := &inbound{}
	value := func(name string) string {
		s, _ := url.QueryUnescape(query[name]) // splitQuery has seen that it can be
		return s
	}
	if encoding := value("SAMLEncoding"); encoding != "" && encoding != deflate {
		return nil, fmt.Errorf("encoding %s is refused", quote(encoding))
	}
	encoded := value(name)
	if len(encoded) > maxDeflated {
		return nil, fmt.Errorf("%s has %d bytes", name, len(encoded))
	}
	deflated, err := decodeBase64(encoded)
	if err != nil {
		return nil, fmt.Errorf("%s is no base64", name)
	}
	if in.data, err = inflate(deflated); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in.relayState = value("RelayState")
	if _, there := query["Signature"]; !there {
		return in, nil
	}
	in.detached = &detached{algorithm: value("SigAlg")}
	if in.detached.value, err = decodeBase64(value("Signature")); err != nil {
		return nil, errors.New("the signature is no base64")
	}
	// What is covered is what was sent, in the order of the specification and with the sender's own escapes.
	covered := name + "=" + query[name]
	if relayState, there := query["RelayState"]; there {
		covered += "&RelayState=" + relayState
	}
	in.detached.covered = []byte(covered + "&SigAlg=" + query["SigAlg"])
	return in, nil
}

// splitQuery returns the parameters of SAML in a query with their values as they were sent. One that is there twice, by
// whatever spelling of its name, is refused: the signature would cover one of them.
func splitQuery(raw string) (map[string]string, error) {
	query := map[string]string{}
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(part, "=")
		decoded, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errors.New("a query that cannot be read")
		}
		switch decoded {
		case "SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding", "SAMLart":
		default:
			continue
		}
		if _, twice := query[decoded]; twice || decoded != name {
			return nil, fmt.Errorf("%s is there twice, or is written in another way", decoded)
		}
		if _, err := url.QueryUnescape(value); err != nil {
			return nil, fmt.Errorf("%s cannot be read", decoded)
		}
		query[decoded] = value
	}
	return query, nil
}

// verify checks the signature over the query.
func (d *detached) verify(keys []crypto.PublicKey) error {
	if _, ok := signatureMethods[d.algorithm]; !ok {
		return fmt.Errorf("signature algorithm %s is refused", quote(d.algorithm))
	}
	if !signedBy(keys, d.algorithm, d.covered, d.value) {
		return errForeignKey
	}
	return nil
}

// The state of a compressor is nearly a megabyte.
var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.DefaultCompression) // fails on an unknown level only
	return w
}}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer) //nolint:errcheck // the pool holds nothing else
	defer deflaters.Put(w)
	w.Reset(&b)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

func inflate(data []byte) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser) //nolint:errcheck // the pool holds nothing else
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(data), nil); err != nil { //nolint:errcheck // it always is
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	switch {
	case err != nil:
		return nil, errors.New("it is not compressed by DEFLATE")
	case len(out) > maxInflated:
		return nil, fmt.Errorf("it has more than %d bytes", maxInflated)
	}
	return out, nil
}

// send returns the redirect that takes a message of ours to the identity provider, signed if there is a key to sign with.
func (p *Provider) send(name, to string, binding Binding, m *message, relayState string) (*provider.Redirect, error) {
	key, algorithm := p.signingKey(), p.cfg.SignatureAlgorithm
	if binding == HTTPPost {
		if key != nil {
			if err := key.envelop(algorithm, m.root); err != nil {
				return nil, err
			}
		}
		data, err := m.bytes()
		if err != nil {
			return nil, err
		}
		form := url.Values{name: {base64.StdEncoding.EncodeToString(data)}}
		if relayState != "" {
			form.Set("RelayState", relayState)
		}
		return &provider.Redirect{URL: to, Form: form}, nil
	}
	if p.cfg.KeyNameExtension {
		m.nameKey(key.Name)
	}
	data, err := m.bytes()
	if err != nil {
		return nil, err
	}
	query := name + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated(data)))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	if key != nil {
		query += "&SigAlg=" + url.QueryEscape(string(algorithm))
		value, err := key.sign(algorithm, []byte(query))
		if err != nil {
			return nil, err
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value))
	}
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	return &provider.Redirect{URL: to + separator + query}, nil
}

// nsKeyName is the namespace of Keycloak's extension that names the key of a detached signature.
const nsKeyName = "urn:keycloak:ext:key:1.0"

// nameKey says which key signs where the signature itself cannot, in samlp:Extensions behind the Issuer (SAML Core §3.2.1).
func (m *message) nameKey(name string) {
	extensions := etree.NewElement("samlp:Extensions")
	info := extensions.CreateElement("kckey:KeyInfo")
	info.CreateAttr("xmlns:kckey", nsKeyName)
	info.CreateAttr("MessageSigningKeyId", name)
	at := 0
	if issuer, _ := maybe(m.root, nsAssertion, "Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	m.root.InsertChildAt(at, extensions)
}
