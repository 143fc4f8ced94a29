package flowtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// An Authenticator is a device with one passkey (WebAuthn Level 3 §6), and the browser before it: what Create and Get return is what
// the broker's pages send as "credential". By its fields it can be spoilt, and its passkey copied. It is not safe for concurrent use.
type Authenticator struct {
	Origin     string // of the page, as the browser says it
	RPID       string // that the passkey is used for; "" is the one that is asked for
	Unverified bool   // nobody has shown that they are the user
	Synced     bool   // the key may be on several devices
	Uncounted  bool   // there is no signature counter
	Counter    uint32 // of the last signature
	ID         []byte // of the passkey
	Key        *ecdsa.PrivateKey
	Handle     []byte // names the user; set by Create; nil is left out
	tb         testing.TB
}

// NewAuthenticator returns a device before which a browser shows a page of this origin.
func NewAuthenticator(tb testing.TB, origin string) *Authenticator {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id) // never fails
	return &Authenticator{tb: tb, Key: key, ID: id, Origin: origin}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// asked is what an authenticator reads of the options.
type asked struct {
	Challenge string `json:"challenge"`
	RPID      string `json:"rpId"`
	RP        struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID string `json:"id"`
	} `json:"user"`
}

func (a *Authenticator) read(options []byte) (o asked) {
	a.tb.Helper()
	if err := json.Unmarshal(options, &o); err != nil {
		a.tb.Fatalf("options %s: %v", options, err)
	}
	return o
}

func (a *Authenticator) clientData(kind, challenge string) []byte {
	text, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": false})
	if err != nil {
		a.tb.Fatal(err)
	}
	return text
}

// data is the authenticator data (§6.1); attested is nil but at registration.
func (a *Authenticator) data(rpID string, attested []byte) []byte {
	if a.RPID != "" {
		rpID = a.RPID
	}
	flags := byte(0x01) // present
	if !a.Unverified {
		flags |= 0x04
	}
	if a.Synced {
		flags |= 0x08 | 0x10
	}
	if attested != nil {
		flags |= 0x40
	}
	if !a.Uncounted {
		a.Counter++
	}
	hash := sha256.Sum256([]byte(rpID))
	data := binary.BigEndian.AppendUint32(append(hash[:], flags), a.Counter)
	return append(data, attested...)
}

// Create answers navigator.credentials.create, which was given options.
func (a *Authenticator) Create(options []byte) []byte {
	a.tb.Helper()
	o := a.read(options)
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.Handle = handle
	attested := append(make([]byte, 16), byte(len(a.ID)>>8), byte(len(a.ID)))
	attested = append(append(attested, a.ID...), a.publicKey()...)
	data := a.data(o.RP.ID, attested)
	// {"fmt": "none", "attStmt": {}, "authData": data} in CBOR (RFC 8949).
	object := []byte{0xa3, 0x63, 'f', 'm', 't', 0x64, 'n', 'o', 'n', 'e', 0x67, 'a', 't', 't', 'S', 't', 'm', 't', 0xa0}
	object = append(object, 0x68, 'a', 'u', 't', 'h', 'D', 'a', 't', 'a', 0x59, byte(len(data)>>8), byte(len(data)))
	return a.answer(map[string]any{
		"clientDataJSON": b64(a.clientData("webauthn.create", o.Challenge)), "attestationObject": b64(append(object, data...)),
		"transports": []string{"internal"},
	})
}

// publicKey is the key as a COSE_Key (RFC 9053 §7.1.1): {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
func (a *Authenticator) publicKey() []byte {
	point, err := a.Key.PublicKey.Bytes()
	if err != nil {
		a.tb.Fatal(err)
	}
	cose := []byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}
	cose = append(cose, point[1:33]...)
	return append(append(cose, 0x22, 0x58, 0x20), point[33:]...)
}

// Get answers navigator.credentials.get, which was given options.
func (a *Authenticator) Get(options []byte) []byte {
	a.tb.Helper()
	o := a.read(options)
	client, data := a.clientData("webauthn.get", o.Challenge), a.data(o.RPID, nil)
	clientHash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), clientHash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.Key, digest[:])
	if err != nil {
		a.tb.Fatal(err)
	}
	response := map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
	if a.Handle != nil {
		response["userHandle"] = b64(a.Handle)
	}
	return a.answer(response)
}

func (a *Authenticator) answer(response map[string]any) []byte {
	text, err := json.Marshal(map[string]any{
		"id": b64(a.ID), "rawId": b64(a.ID), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		a.tb.Fatal(err)
	}
	return text
}
