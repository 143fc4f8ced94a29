package providertest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

var (
	keyAlgorithms = []jose.KeyAlgorithm{
		jose.RSA_OAEP, jose.RSA_OAEP_256, jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A256KW, jose.RSA1_5, jose.DIRECT, jose.PBES2_HS256_A128KW,
	}
	contentAlgorithms = []jose.ContentEncryption{jose.A128GCM, jose.A192GCM, jose.A256GCM, jose.A128CBC_HS256, jose.A256CBC_HS512}
)

// An opener is a client that decrypts what it gets, by the code of others.
type opener struct {
	op     *providertest.OIDC
	client providertest.Client
	key    crypto.Signer
}

func newOpener(t testing.TB, alg, enc string) *opener {
	t.Helper()
	var private crypto.Signer
	var err error
	if strings.HasPrefix(alg, "RSA") {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: private.Public(), KeyID: "signing", Algorithm: alg, Use: "sig"},
		{Key: private.Public(), KeyID: "mine", Algorithm: alg, Use: "enc"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	op := providertest.StartOIDC(t, fast())
	client := op.Register(providertest.Client{EncryptionAlg: alg, EncryptionEnc: enc, JWKS: set})
	return &opener{op, client, private}
}

// token returns a logout token, which is encrypted like everything else, and the header of its encryption.
func (o *opener) token(t testing.TB) (string, *jose.JSONWebEncryption) {
	t.Helper()
	raw := o.op.LogoutToken(providertest.Logout{Client: o.client.ID, Subject: "alice"})
	object, err := jose.ParseEncryptedCompact(raw, keyAlgorithms, contentAlgorithms)
	if err != nil {
		return raw, nil
	}
	return raw, object
}

func TestEncryption(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RSA-OAEP-256", "RSA-OAEP", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"} {
		for _, enc := range []string{"", "A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"} {
			o := newOpener(t, alg, enc)
			_, object := o.token(t)
			if object == nil || object.Header.KeyID != "mine" || object.Header.Algorithm != alg || object.Header.ExtraHeaders["cty"] != "JWT" {
				t.Fatalf("%s %s: header %+v", alg, enc, object)
			}
			plain, err := object.Decrypt(o.key)
			if err != nil || strings.Count(string(plain), ".") != 2 {
				t.Errorf("%s %s: got %q, %v", alg, enc, plain, err)
			}
		}
	}
}

func TestRegisterRefusesEncryption(t *testing.T) {
	t.Parallel()
	o := newOpener(t, "ECDH-ES", "")
	for name, c := range map[string]providertest.Client{
		"RSA1_5":    {EncryptionAlg: "RSA1_5", JWKS: o.client.JWKS},
		"enc":       {EncryptionAlg: "ECDH-ES", EncryptionEnc: "none", JWKS: o.client.JWKS},
		"no key":    {EncryptionAlg: "RSA-OAEP", JWKS: o.client.JWKS},
		"no JWKS":   {EncryptionAlg: "ECDH-ES"},
		"no object": {EncryptionAlg: "ECDH-ES", JWKS: []byte("[]")},
	} {
		if _, err := providertest.NewOIDC(providertest.OIDCConfig{Issuer: "https://op.example", Alg: "ES256", Clients: []providertest.Client{c}}); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
}

// Each fault is what its name says, as others' code sees it.
func TestEncryptionFaultsShow(t *testing.T) {
	t.Parallel()
	inside := func(o *opener, object *jose.JSONWebEncryption) string {
		plain, err := object.Decrypt(o.key)
		if err != nil {
			return ""
		}
		return string(plain)
	}
	shut := func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
		return object != nil && inside(o, object) == ""
	}
	by := func(alg string) func(*opener, string, *jose.JSONWebEncryption) bool {
		return func(_ *opener, _ string, object *jose.JSONWebEncryption) bool {
			return object != nil && object.Header.Algorithm == alg
		}
	}
	header := func(name string, want any) func(*opener, string, *jose.JSONWebEncryption) bool {
		return func(_ *opener, raw string, _ *jose.JSONWebEncryption) bool {
			encoded, _, _ := strings.Cut(raw, ".")
			text, err := base64.RawURLEncoding.DecodeString(encoded)
			var got map[string]any
			return err == nil && json.Unmarshal(text, &got) == nil && got[name] == want
		}
	}
	shown := map[providertest.Fault]func(*opener, string, *jose.JSONWebEncryption) bool{
		providertest.EncryptionAbsent: func(_ *opener, raw string, _ *jose.JSONWebEncryption) bool { return strings.Count(raw, ".") == 2 },
		providertest.EncryptionKeyWrong: func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
			return object != nil && object.Header.KeyID == "mine" && inside(o, object) == ""
		},
		providertest.EncryptionTampered: shut,
		providertest.EncryptionCut:      func(_ *opener, raw string, _ *jose.JSONWebEncryption) bool { return strings.Split(raw, ".")[3] == "" },
		providertest.EncryptionHeader:   shut,
		providertest.EncryptionRSA15:    by("RSA1_5"),
		providertest.EncryptionDirect:   by("dir"),
		providertest.EncryptionPassword: by("PBES2-HS256+A128KW"),
		providertest.EncryptionZip:      header("zip", "DEF"),
		providertest.EncryptionCrit:     header("example", true),
		providertest.EncryptionTyp:      header("typ", "at+jwt"),
		providertest.EncryptionCty:      header("cty", "json"),
		providertest.EncryptionTwice: func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
			return object != nil && strings.Count(inside(o, object), ".") == 4
		},
		providertest.EncryptionUnsigned: func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
			return object != nil && strings.HasSuffix(inside(o, object), ".")
		},
		providertest.EncryptionClaims: func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
			return object != nil && strings.HasPrefix(inside(o, object), "{")
		},
		providertest.EncryptionForeign: func(o *opener, _ string, object *jose.JSONWebEncryption) bool {
			if object == nil {
				return false
			}
			var keys jose.JSONWebKeySet
			err := json.Unmarshal([]byte(get(t, newBrowser(t), o.op.Issuer()+"/jwks").body), &keys)
			return err == nil && strings.Count(inside(o, object), ".") == 2 && !signedBy(inside(o, object), &keys)
		},
	}
	for _, alg := range []string{"RSA-OAEP", "ECDH-ES+A128KW"} {
		o := newOpener(t, alg, "")
		for _, fault := range providertest.EncryptionFaults() {
			see := shown[fault]
			if see == nil {
				t.Fatalf("%s: nothing says how it shows", fault)
			}
			raw, object := o.token(t)
			if see(o, raw, object) {
				t.Errorf("%s, %s: shows although nothing is broken", alg, fault)
			}
			o.op.Break(fault)
			if raw, object := o.token(t); !see(o, raw, object) {
				t.Errorf("%s, %s: does not show: %s", alg, fault, raw)
			}
			o.op.Break()
		}
	}
}
