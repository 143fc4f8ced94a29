package op

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	devicePurpose   = "device"      // key: hash of the device code; value: sealed deviceRequest
	userCodePurpose = "user_code"   // key: hash of the user code; value: key of the device
	pollPurpose     = "device_poll" // key: that of the device; value: polling
	deviceLifetime  = 10 * time.Minute
	// deviceKept is how much longer a device code is known: a device that comes late learns that it is too late.
	deviceKept     = 10 * time.Minute
	deviceInterval = 5 * time.Second // also what slow_down adds (RFC 8628 §3.5)
	// pollSlack forgives a device whose clock or network is not quite even.
	pollSlack = time.Second
)

// A deviceRequest is what a device waits for (RFC 8628). It is written when the device asks, and once more by the one
// who takes the user code.
type deviceRequest struct {
	Client  string    `json:"c"`
	Scope   []string  `json:"s"`
	APIs    []string  `json:"r,omitempty"` // that the tokens are to be for; nil is the client's default
	Expires time.Time `json:"e"`
	Denied  bool      `json:"d,omitempty"`
	Grant   string    `json:"g,omitempty"` // id of what was granted; "" until it is
}

// DeviceAuthorization handles POST /device_authorization (RFC 8628 §3.1).
func (p *Provider) DeviceAuthorization(w http.ResponseWriter, r *http.Request) {
	answer, err := p.startDevice(w, r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	noStore(w)
	writeJSON(w, http.StatusOK, answer)
}

// A deviceAnswer is what the device is told (RFC 8628 §3.2).
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
	Interval   int64  `json:"interval"`   // seconds
}

func (p *Provider) startDevice(w http.ResponseWriter, r *http.Request) (*deviceAnswer, error) {
	form, err := tokenForm(w, r)
	if err != nil {
		return nil, err
	}
	client, err := p.authenticate(r, form)
	if err != nil {
		return nil, err
	}
	web.RecordOf(r.Context()).Note("client", client.ID)
	if err := p.mayUse(client, store.GrantTypeDevice); err != nil {
		return nil, err
	}
	scope := permitted(client, form.Get("scope"))
	if len(scope) == 0 {
		return nil, invalidScope("scope names nothing that this client may have")
	}
	apis, err := p.targets(client, nil, form["resource"])
	if err != nil {
		return nil, err
	}
	if err := p.mayKeep(r, client); err != nil {
		return nil, err
	}
	code, key := token.NewHandle(devicePurpose)
	d := &deviceRequest{Client: client.ID, Scope: scope, APIs: apis, Expires: p.Now().Add(deviceLifetime)}
	if err := p.keepDevice(r.Context(), key, d); err != nil {
		return nil, err
	}
	userCode, err := p.addUserCode(r.Context(), key, d.Expires)
	if err != nil {
		return nil, err
	}
	return &deviceAnswer{
		DeviceCode: code,
		UserCode:   userCode,
		URI:        p.issuer() + devicePath,
		Complete:   p.issuer() + devicePath + "?" + url.Values{fieldUserCode: {userCode}}.Encode(),
		ExpiresIn:  int64(deviceLifetime / time.Second),
		Interval:   int64(deviceInterval / time.Second),
	}, nil
}

func invalidScope(description string) error { return badRequest("invalid_scope", description) }

// permitted returns what the client may have of the scope that it asks for.
func permitted(client *store.Client, scope string) (list []string) {
	allowed := scopesOf(client)
	for s := range strings.FieldsSeq(scope) {
		if slices.Contains(allowed, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// addUserCode returns a code that leads to the device and is nobody else's.
func (p *Provider) addUserCode(ctx context.Context, key string, expires time.Time) (string, error) {
	for range 10 {
		code := newUserCode()
		err := p.Store.Add(ctx, userCodePurpose, token.HashHandle(userCodePurpose, code), []byte(key), expires)
		if err == nil {
			return showUserCode(code), nil
		}
		if !errors.Is(err, store.ErrExists) {
			return "", err
		}
	}
	return "", errors.New("ten user codes in a row were taken")
}

func (p *Provider) keepDevice(ctx context.Context, key string, d *deviceRequest) error {
	plain, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return p.Store.Put(ctx, devicePurpose, key, plain, d.Expires.Add(deviceKept))
}

// device returns what is kept under the key, or store.ErrNotFound.
func (p *Provider) device(ctx context.Context, key string) (*deviceRequest, error) {
	plain, err := p.Store.Get(ctx, devicePurpose, key)
	if err != nil {
		return nil, err
	}
	d := &deviceRequest{}
	if err := json.Unmarshal(plain, d); err != nil {
		return nil, store.ErrNotFound // another version of the broker has written it
	}
	return d, nil
}

// grantDevice records what the session has granted the device. Only who took the user code may call it.
func (p *Provider) grantDevice(ctx context.Context, key string, d *deviceRequest, client *store.Client, s *store.Session) error {
	g, _ := p.newGrant(&authRequest{client: client, scope: d.Scope, resources: d.APIs}, s)
	g.CodeHash = nil // the device code redeems it, and no authorization code
	g.CodeExpires, g.ExpiresAt = d.Expires, d.Expires
	if err := p.Store.CreateGrant(ctx, g); err != nil {
		return err
	}
	d.Grant = g.ID
	return p.keepDevice(ctx, key, d)
}

// denyDevice records that the device gets nothing, likewise.
func (p *Provider) denyDevice(ctx context.Context, key string, d *deviceRequest) error {
	d.Denied = true
	return p.keepDevice(ctx, key, d)
}

// redeemDevice answers a device that asks whether it was granted what it waits for (RFC 8628 §3.4 and §3.5).
func (p *Provider) redeemDevice(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	key := token.HashHandle(devicePurpose, req.form.Get("device_code"))
	d, err := p.device(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, invalidGrant("no such device code")
	case err != nil:
		return nil, err
	case d.Client != req.client.ID:
		return nil, invalidGrant("the device code is another client's")
	case d.Denied:
		return nil, badRequest("access_denied", "the user has refused")
	case d.Grant != "":
		return p.collect(ctx, req, d)
	case !p.Now().Before(d.Expires):
		return nil, errDeviceExpired
	}
	return nil, p.pending(ctx, key, d.Expires)
}

var errDeviceExpired = badRequest("expired_token", "the device code has expired: start again")

// collect gives the tokens of a grant, once, as for an authorization code.
func (p *Provider) collect(ctx context.Context, req *tokenRequest, d *deviceRequest) (*tokenResponse, error) {
	g, err := p.Store.Grant(ctx, d.Grant)
	if errors.Is(err, store.ErrNotFound) {
		if !p.Now().Before(d.Expires) {
			return nil, errDeviceExpired
		}
		return nil, invalidGrant("the grant has ended")
	}
	if err != nil {
		return nil, err
	}
	if g.CodeUsed {
		return nil, p.end(ctx, g, "the device code was used before")
	}
	return p.firstTokens(ctx, req, g)
}

// polling is how often a device may ask.
type polling struct {
	Last     time.Time     `json:"l"`
	Interval time.Duration `json:"i"`
}

// pending says that nobody has decided yet, and to one that asks too often that it must do so less often from now on.
func (p *Provider) pending(ctx context.Context, key string, expires time.Time) error {
	now := p.Now()
	kept, err := p.Store.Get(ctx, pollPurpose, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	last := polling{}
	if json.Unmarshal(kept, &last) != nil { // it is the first time
		last = polling{Interval: deviceInterval}
	}
	answer := badRequest("authorization_pending", "the user has not decided yet")
	if now.Sub(last.Last) < last.Interval-pollSlack {
		last.Interval += deviceInterval
		answer = badRequest("slow_down", "wait five seconds longer between requests")
	}
	last.Last = now
	if kept, err = json.Marshal(last); err != nil {
		return err
	}
	if err := p.Store.Put(ctx, pollPurpose, key, kept, expires); err != nil {
		return err
	}
	return answer
}

// userCodeLetters are consonants that are not taken for one another, and spell no word (RFC 8628 §6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

func newUserCode() string {
	// Bytes above the last multiple of the alphabet's length would make some letters likelier.
	const fair = 256 - 256%len(userCodeLetters)
	code := make([]byte, 0, userCodeLength)
	for raw := make([]byte, 1); len(code) < userCodeLength; {
		_, _ = rand.Read(raw) // never fails
		if int(raw[0]) < fair {
			code = append(code, userCodeLetters[int(raw[0])%len(userCodeLetters)])
		}
	}
	return string(code)
}

// showUserCode writes a code as people read it.
func showUserCode(code string) string { return code[:userCodeLength/2] + "-" + code[userCodeLength/2:] }

// readUserCode reads a code as people write it: in any case, with dashes and spaces wherever they like.
func readUserCode(entered string) (code string, ok bool) {
	var b strings.Builder
	for _, r := range entered {
		switch {
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		case strings.ContainsRune(" \t\u00a0-\u2010\u2011\u2012\u2013\u2014\u2212", r):
			continue
		}
		if !strings.ContainsRune(userCodeLetters, r) || b.Len() == userCodeLength {
			return "", false
		}
		b.WriteRune(r)
	}
	return b.String(), b.Len() == userCodeLength
}
