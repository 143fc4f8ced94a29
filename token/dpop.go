package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	proofType Type = "dpop+jwt"
	// maxProof has room for a key of maxRSABits and a signature with it.
	maxProof = 8 << 10
	// proofWindow is how far from now a proof may have been made, either way: RFC 9449 §11.1 has "seconds or minutes".
	proofWindow = time.Minute
)

// A Proof is a DPoP proof that was verified: whoever sent the request holds the private key of JKT (RFC 9449 §4). It counts
// once: remember Key until Until, and refuse the request if it was remembered before.
type Proof struct {
	JKT   string    // thumbprint of the key (RFC 7638, SHA-256 in base64url)
	Key   string    // names this proof, 43 characters
	Until time.Time // from then on it would be refused anyway

	ath string
}

// ParseProof verifies the value of a request's only DPoP header, for the method and URL that the request was sent with. The
// URL is what senders call the endpoint: made of the server's configuration, not of a Host header. It makes all checks of
// RFC 9449 §4.3 but for replay, the access token ([Proof.Covers]) and a nonce, which nobody here asks for: RS256,
// PS256, ES256 or EdDSA with a public key that is strong enough, method and URL (normalised as RFC 3986 §6.2.2 and §6.2.3
// say, without query and fragment), made within a minute of now. What is wrong is an [ErrInvalid].
func ParseProof(raw, method, url string, now time.Time) (*Proof, error) {
	j, err := split(raw, maxProof)
	if err != nil {
		return nil, err
	}
	if !isType(j.typ, proofType) {
		return nil, invalid("type")
	}
	if !slices.Contains(ownAlgorithms, j.alg) {
		return nil, invalid("algorithm")
	}
	key, err := embeddedKey(j.header.get("jwk"))
	if err != nil {
		return nil, err
	}
	payload, err := j.verifyWith([]PublicKey{key})
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	return newProof(c, key, method, url, now)
}

// embeddedKey reads the public key that a proof carries.
func embeddedKey(jwk string) (PublicKey, error) {
	o, err := parseObject([]byte(jwk))
	if err != nil {
		return PublicKey{}, err
	}
	if o.private() {
		return PublicKey{}, invalid("private key")
	}
	key, ok := parseJWK([]byte(jwk))
	if !ok {
		return PublicKey{}, invalid("key")
	}
	return key, nil
}

func newProof(c *Claims, key PublicKey, method, url string, now time.Time) (*Proof, error) {
	var htm, htu, ath string
	for _, err := range []error{c.members.text("htm", &htm), c.members.text("htu", &htu), c.members.text("ath", &ath)} {
		if err != nil {
			return nil, err
		}
	}
	switch {
	case c.ID == "":
		return nil, invalid("no jti")
	case htm == "" || htm != method:
		return nil, invalid("method")
	case !sameURL(htu, url):
		return nil, invalid("URL")
	case c.IssuedAt.IsZero() || now.Sub(c.IssuedAt).Abs() > proofWindow:
		return nil, invalid("not made just now")
	case c.NotBefore.After(now) || !c.Expires.IsZero() && !now.Before(c.Expires): // which a proof need not have
		return nil, invalid("not valid now")
	}
	jkt, err := KeyID(key.Key)
	if err != nil {
		return nil, invalid("key")
	}
	p := &Proof{JKT: jkt, Key: HashHandle("dpop", jkt+"."+c.ID), Until: c.IssuedAt.Add(2 * proofWindow), ath: ath}
	return p, nil
}

// Covers reports whether the proof was made for this access token (RFC 9449 §4.3), with the key that the token, of which c
// are the verified claims, is bound to (§6.1).
func (p *Proof) Covers(accessToken string, c *Claims) bool {
	sum := sha256.Sum256([]byte(accessToken))
	ath := base64.RawURLEncoding.EncodeToString(sum[:])
	bound, err := c.JKT()
	return err == nil && bound != "" && bound == p.JKT && subtle.ConstantTimeCompare([]byte(ath), []byte(p.ath)) == 1
}

// JKT returns the thumbprint of the key that a token is bound to (RFC 9449 §6.1), or "" if it is bound to none. A token that
// is bound to anything else or more is an [ErrInvalid]: a proof of that is not checked here.
func (c *Claims) JKT() (string, error) {
	raw := c.members.get("cnf")
	if raw == "" {
		return "", nil
	}
	cnf, err := parseObject([]byte(raw))
	if err != nil {
		return "", err
	}
	var jkt string
	if err := cnf.text("jkt", &jkt); err != nil {
		return "", err
	}
	if jkt == "" || len(cnf) != 1 {
		return "", invalid("bound to something unknown")
	}
	return jkt, nil
}

func sameURL(a, b string) bool {
	a, okA := normalURL(a)
	b, okB := normalURL(b)
	return okA && okB && a == b
}

// normalURL returns an absolute http or https URL in its normal form, without query and fragment.
func normalURL(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", false
	}
	host, port := strings.ToLower(u.Host), u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	path := normalEscapes(u.EscapedPath())
	if path == "" {
		path = "/"
	}
	n, err := url.Parse(u.Scheme + "://" + host + path)
	if err != nil {
		return "", false
	}
	return n.ResolveReference(n).String(), true // without dot segments
}

// normalEscapes decodes what needs no escape and writes the other escapes in capitals. Those of path are well-formed.
func normalEscapes(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		escape := path[i : i+3]
		i += 2
		decoded, err := url.PathUnescape(escape)
		if err == nil && unreserved(decoded[0]) {
			b.WriteString(decoded)
		} else {
			b.WriteString(strings.ToUpper(escape))
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
