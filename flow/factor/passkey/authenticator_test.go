package passkey_test

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

// An authenticator is a device with one passkey (WebAuthn Level 3 §6), and the browser before it. What it does can be spoilt.
type authenticator struct {
	t      testing.TB
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte

	origin   string
	rpID     string // "" is the one that is asked for
	verifies bool   // the user was verified
	synced   bool   // the key may be on several devices
	counts   bool   // it has a signature counter
	counter  uint32
	noHandle bool
	other    *ecdsa.PrivateKey // signs in key's place
}

func newAuthenticator(t testing.TB, origin string) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return &authenticator{t: t, key: key, id: id, origin: origin, verifies: true, counts: true}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type options struct {
	Challenge string `json:"challenge"`
	RPID      string `json:"rpId"`
	RP        struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID string `json:"id"`
	} `json:"user"`
	UserVerification       string `json:"userVerification"`
	AuthenticatorSelection struct {
		ResidentKey      string `json:"residentKey"`
		UserVerification string `json:"userVerification"`
	} `json:"authenticatorSelection"`
	Allow   []struct{ ID string } `json:"allowCredentials"`
	Exclude []struct{ ID string } `json:"excludeCredentials"`
}

func (a *authenticator) read(text []byte) options {
	a.t.Helper()
	var o options
	if err := json.Unmarshal(text, &o); err != nil {
		a.t.Fatalf("options %s: %v", text, err)
	}
	return o
}

func (a *authenticator) clientData(kind, challenge string) []byte {
	text, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

// data is the authenticator data (§6.1); attested is nil but at registration.
func (a *authenticator) data(rpID string, attested []byte) []byte {
	if a.rpID != "" {
		rpID = a.rpID
	}
	flags := byte(0x01) // present
	if a.verifies {
		flags |= 0x04
	}
	if a.synced {
		flags |= 0x08 | 0x10
	}
	if attested != nil {
		flags |= 0x40
	}
	if a.counts {
		a.counter++
	}
	hash := sha256.Sum256([]byte(rpID))
	data := binary.BigEndian.AppendUint32(append(hash[:], flags), a.counter)
	return append(data, attested...)
}

// create answers navigator.credentials.create.
func (a *authenticator) create(text []byte) []byte {
	a.t.Helper()
	o := a.read(text)
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	a.handle = handle
	attested := append(make([]byte, 16), byte(len(a.id)>>8), byte(len(a.id)))
	attested = append(append(attested, a.id...), a.publicKey()...)
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
func (a *authenticator) publicKey() []byte {
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	cose := []byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}
	cose = append(cose, point[1:33]...)
	return append(append(cose, 0x22, 0x58, 0x20), point[33:]...)
}

// get answers navigator.credentials.get.
func (a *authenticator) get(text []byte) []byte {
	a.t.Helper()
	o := a.read(text)
	client, data := a.clientData("webauthn.get", o.Challenge), a.data(o.RPID, nil)
	clientHash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), clientHash[:]...))
	key := a.key
	if a.other != nil {
		key = a.other
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	response := map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
	if !a.noHandle {
		response["userHandle"] = b64(a.handle)
	}
	return a.answer(response)
}

func (a *authenticator) answer(response map[string]any) []byte {
	text, err := json.Marshal(map[string]any{
		"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}
