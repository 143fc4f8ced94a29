package op

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/limit"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	devicePath     = "/device"
	confirmPurpose = "device_confirm"
	fieldUserCode  = "user_code"
	fieldConfirm   = "confirm" // of the confirmation's form: what is confirmed, sealed for the session that was asked

	// How many wrong codes are forgiven: to one user, whose sessions do not matter, and to all of them. With 10,000 tries
	// against a thousand devices that wait, the chance to hit one is below 1 in 2,500 (RFC 8628 §5.1).
	triesPurpose = "device_try"
	triesWithin  = 10 * time.Minute
	triesOfUser  = 10
	triesOfAll   = 10_000
)

// deviceParams are the parameters of /device: our own, and those with which the package login comes back to it.
var deviceParams = []string{
	fieldUserCode, "ui_locales", "prompt", "login_hint", "idp_hint", "kc_idp_hint", "idp_notice", "idp_by_email",
}

// Device handles GET /device (RFC 8628 §3.3): where somebody enters the code that a device shows and, once they are signed
// in, sees what it asks for. Nobody who is not signed in gets to know whether a code is right.
func (p *Provider) Device(w http.ResponseWriter, r *http.Request) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	code, ok := readUserCode(params.Get(fieldUserCode))
	if !ok {
		p.askCode(w, r, params, "")
		return
	}
	target := p.deviceTarget(params)
	active, err := p.Sessions.Current(r)
	switch {
	case err != nil && !errors.Is(err, session.ErrNone):
		p.Login.Fail(w, r, target, err)
	case err != nil || target.Choose:
		p.Login.Choose(w, r, target)
	default:
		p.confirmDevice(w, r, target, active, code)
	}
}

// DeviceAnswer handles POST /device: a code that was entered, or the decision about one.
func (p *Provider) DeviceAnswer(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	if err := r.ParseForm(); err != nil {
		p.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	form := r.PostForm
	if form.Has(fieldConfirm) {
		p.decideDevice(w, r, form)
		return
	}
	login.ReadForm(form)
	target := p.deviceTarget(form)
	if _, ok := readUserCode(form.Get(fieldUserCode)); !ok {
		p.askCode(w, r, form, "form")
		return
	}
	if target.ByEmail { // the login page's own form
		p.Login.Choose(w, r, target)
		return
	}
	p.Login.Send(w, r, target, login.Answer{URL: p.issuer() + target.Start})
}

// askCode shows the page on which the code is entered. problem says what was wrong with the last one.
func (p *Provider) askCode(w http.ResponseWriter, r *http.Request, params url.Values, problem string) {
	status, entered := http.StatusOK, params.Get(fieldUserCode)
	if problem == "" && entered != "" {
		problem = "form"
	}
	if problem != "" {
		status = http.StatusBadRequest
	}
	hidden := url.Values{}
	if locales := params.Get("ui_locales"); locales != "" {
		hidden.Set("ui_locales", locales)
	}
	if len(entered) > 64 {
		entered = ""
	}
	p.Login.Render(w, r, p.deviceTarget(params), web.Page{Name: "device", Status: status, Data: web.DeviceData{
		Action: p.issuer() + devicePath, Hidden: hidden, Value: entered, Error: problem,
	}})
}

// deviceTarget is a login that comes back to the page.
func (p *Provider) deviceTarget(params url.Values) *login.Target {
	kept := url.Values{}
	for _, name := range deviceParams {
		if params.Has(name) {
			kept.Set(name, params.Get(name))
		}
	}
	back := url.Values{}
	for _, name := range []string{fieldUserCode, "ui_locales"} {
		if kept.Has(name) {
			back.Set(name, kept.Get(name))
		}
	}
	t := &login.Target{
		Start:   devicePath + "?" + kept.Encode(),
		Locales: kept.Get("ui_locales"),
		Choose:  kept.Get("prompt") == "select_account",
		Wishes:  provider.Request{LoginHint: kept.Get("login_hint"), UILocales: strings.Fields(kept.Get("ui_locales"))},
		Grant: func(context.Context, *store.Session) (*store.Grant, login.Answer, error) {
			return nil, login.Answer{URL: p.issuer() + devicePath + "?" + back.Encode()}, nil
		},
	}
	if t.Choose {
		t.Wishes.Prompt = []string{"select_account"}
	}
	t.ReadHints(kept)
	return t
}

// ResolveDevice makes the target of the parameters that a Start holds.
func (p *Provider) ResolveDevice(rawQuery string) (*login.Target, error) {
	params, err := parseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	return p.deviceTarget(params), nil
}

// confirmDevice asks whether the device that shows the code may have what it asks for. That must be seen and answered even
// where the code came with a link: whoever sent the link may own the device (RFC 8628 §5.4).
func (p *Provider) confirmDevice(w http.ResponseWriter, r *http.Request, t *login.Target, active *session.Active, code string) {
	ctx := r.Context()
	codeKey := token.HashHandle(userCodePurpose, code)
	key, err := p.tryUserCode(ctx, active.User.ID, codeKey)
	if errors.Is(err, store.ErrNotFound) {
		p.askCode(w, r, url.Values{fieldUserCode: {showUserCode(code)}, "ui_locales": {t.Locales}}, "unknown")
		return
	}
	var d *deviceRequest
	var client *store.Client
	if err == nil {
		d, client, err = p.askedDevice(ctx, key)
	}
	if err != nil {
		p.deviceFailed(w, r, t, err)
		return
	}
	if p.Gate.Allows(client, active.Session.Upstream.Provider) != nil {
		t.Application, t.Providers, t.Choose = cmp.Or(client.Name, client.ID), client.Providers, true
		p.Login.Choose(w, r, t)
		return
	}
	p.Login.Render(w, r, t, web.Page{Name: "device-confirm", Status: http.StatusOK, Data: web.DeviceConfirmData{
		Application: cmp.Or(client.Name, client.ID),
		Account:     account(active.User),
		Code:        showUserCode(code),
		Scopes:      d.Scope,
		Action:      p.issuer() + devicePath,
		Hidden: url.Values{
			fieldConfirm: {p.Login.Sealer.Seal(confirmPurpose, active.Session.ID, []byte(codeKey))}, "ui_locales": {t.Locales},
		},
		Field:  fieldDecision,
		Switch: p.issuer() + devicePath + "?" + url.Values{fieldUserCode: {code}, "ui_locales": {t.Locales}, "prompt": {"select_account"}}.Encode(),
	}})
}

// tryUserCode returns the key of the device that a user code leads to, or store.ErrNotFound. Only wrong codes count as
// tries, but each is counted before it is looked up, so that many at once are no way around it.
func (p *Provider) tryUserCode(ctx context.Context, userID, codeKey string) (string, error) {
	ofUser := limit.Limit{Store: p.Store, Now: p.Now, Purpose: triesPurpose, Max: triesOfUser, Within: triesWithin}
	ofAll := limit.Limit{Store: p.Store, Now: p.Now, Purpose: triesPurpose, Max: triesOfAll, Within: triesWithin}
	forgiveUser, err := ofUser.Try(ctx, "user "+userID)
	if err != nil {
		return "", err
	}
	forgiveAll, err := ofAll.Try(ctx, "all")
	if err != nil {
		return "", err
	}
	key, err := p.Store.Get(ctx, userCodePurpose, codeKey)
	if err != nil {
		return "", err
	}
	return string(key), errors.Join(forgiveUser(ctx), forgiveAll(ctx))
}

// askedDevice returns a request that nobody has decided yet, and its client if that may still have the grant.
func (p *Provider) askedDevice(ctx context.Context, key string) (*deviceRequest, *store.Client, error) {
	d, err := p.device(ctx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && !p.Now().Before(d.Expires) {
		return nil, nil, errStale
	}
	if err != nil {
		return nil, nil, err
	}
	client, err := p.Gate.Client(ctx, d.Client)
	if err == nil {
		err = p.Gate.Grant(client, store.GrantTypeDevice)
	}
	return d, client, err
}

// decideDevice takes the answer of the session that was asked, once: the user code is taken with it, right or wrong.
func (p *Provider) decideDevice(w http.ResponseWriter, r *http.Request, form url.Values) {
	t := p.deviceTarget(url.Values{"ui_locales": {form.Get("ui_locales")}})
	decision := form.Get(fieldDecision)
	if !slices.Contains([]string{"allow", "deny"}, decision) {
		p.Login.Fail(w, r, t, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("no decision")})
		return
	}
	client, err := p.decide(r, form.Get(fieldConfirm), decision == "allow")
	if err != nil {
		p.deviceFailed(w, r, t, err)
		return
	}
	p.Login.Render(w, r, t, web.Page{Name: "device-done", Status: http.StatusOK, Data: web.DeviceDoneData{
		Application: cmp.Or(client.Name, client.ID), Allowed: decision == "allow",
	}})
}

func (p *Provider) decide(r *http.Request, sealed string, allow bool) (*store.Client, error) {
	ctx := r.Context()
	active, err := p.Sessions.Current(r)
	if errors.Is(err, session.ErrNone) {
		return nil, errStale
	}
	if err != nil {
		return nil, err
	}
	codeKey, err := p.Login.Sealer.Open(confirmPurpose, active.Session.ID, sealed)
	if err != nil {
		return nil, errStale // made up, or another session was asked
	}
	key, err := p.Store.Take(ctx, userCodePurpose, string(codeKey))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errStale
	}
	if err != nil {
		return nil, err
	}
	d, client, err := p.askedDevice(ctx, string(key))
	if err != nil {
		return nil, err
	}
	web.RecordOf(ctx).Note("client", client.ID)
	if !allow {
		return client, p.denyDevice(ctx, string(key), d)
	}
	if err := p.Gate.Allows(client, active.Session.Upstream.Provider); err != nil {
		return nil, err
	}
	return client, p.grantDevice(ctx, string(key), d, client, active.Session)
}

// deviceFailed shows why a code leads nowhere.
func (p *Provider) deviceFailed(w http.ResponseWriter, r *http.Request, t *login.Target, err error) {
	switch {
	case errors.Is(err, errStale):
		web.RecordOf(r.Context()).Err = err
		p.Login.Expired(w, r, t, "")
	case errors.Is(err, limit.ErrTooMany):
		p.Login.Fail(w, r, t, &login.Problem{Status: http.StatusTooManyRequests, Message: "too_many", Err: err})
	default:
		p.Login.Fail(w, r, t, err)
	}
}
