package providertest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Logout says what a logout token is about (OpenID Connect Back-Channel Logout 1.0 §2.4).
type Logout struct {
	Client  string        // ID of the client that it is for
	Subject string        // "" leaves sub out
	Session string        // the sid of the ID tokens of that session; "" leaves sid out
	Faults  []LogoutFault // what is wrong with it; several at once if they are at different places
	// Edit changes what no fault has a name for, on maps of its own; nil changes nothing.
	Edit func(header, claims map[string]any)
}

// A LogoutFault is something wrong with a logout token. Its text is its name, for subtests.
type LogoutFault string

// Faults of logout tokens, which a client must refuse.
const (
	LogoutUnsigned        LogoutFault = "alg none"
	LogoutHMACPublicKey   LogoutFault = "HS256 with the public key" // in PEM
	LogoutHMACSecret      LogoutFault = "HS256 with the client secret"
	LogoutKeyUnknown      LogoutFault = "unknown key, published kid"
	LogoutKeyEmbedded     LogoutFault = "unknown key, embedded jwk"
	LogoutSignatureWrong  LogoutFault = "signature wrong"
	LogoutTypAccessToken  LogoutFault = "typ at+jwt"
	LogoutCritUnknown     LogoutFault = "unknown crit"
	LogoutIssWrong        LogoutFault = "iss wrong"
	LogoutIssAbsent       LogoutFault = "iss absent"
	LogoutAudWrong        LogoutFault = "aud wrong"
	LogoutAudAbsent       LogoutFault = "aud absent"
	LogoutIatPast         LogoutFault = "iat past" // ten minutes ago, exp still to come
	LogoutIatFuture       LogoutFault = "iat future"
	LogoutIatAbsent       LogoutFault = "iat absent"
	LogoutExpPast         LogoutFault = "exp past"
	LogoutJTIAbsent       LogoutFault = "jti absent"
	LogoutNonce           LogoutFault = "nonce present"
	LogoutEventsAbsent    LogoutFault = "events absent"
	LogoutEventsEmpty     LogoutFault = "events empty"
	LogoutEventsOther     LogoutFault = "events of another kind"
	LogoutEventsNotObject LogoutFault = "event no object"
	LogoutNobody          LogoutFault = "neither sub nor sid"
	LogoutSubNumber       LogoutFault = "sub number"
	LogoutSidEmpty        LogoutFault = "sid empty"
)

// LogoutFaults returns every fault of logout tokens.
func LogoutFaults() []LogoutFault {
	return []LogoutFault{
		LogoutUnsigned, LogoutHMACPublicKey, LogoutHMACSecret, LogoutKeyUnknown, LogoutKeyEmbedded, LogoutSignatureWrong,
		LogoutTypAccessToken, LogoutCritUnknown, LogoutIssWrong, LogoutIssAbsent, LogoutAudWrong, LogoutAudAbsent,
		LogoutIatPast, LogoutIatFuture, LogoutIatAbsent, LogoutExpPast, LogoutJTIAbsent, LogoutNonce,
		LogoutEventsAbsent, LogoutEventsEmpty, LogoutEventsOther, LogoutEventsNotObject, LogoutNobody, LogoutSubNumber, LogoutSidEmpty,
	}
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

var logoutFaults = map[LogoutFault]func(*OIDC, *jwt){
	LogoutUnsigned:        idTokenFaults[AlgNone],
	LogoutHMACPublicKey:   idTokenFaults[AlgHMACPublicKey],
	LogoutHMACSecret:      idTokenFaults[AlgHMACSecret],
	LogoutKeyUnknown:      idTokenFaults[KeyUnknown],
	LogoutKeyEmbedded:     idTokenFaults[KeyEmbedded],
	LogoutSignatureWrong:  idTokenFaults[SignatureWrong],
	LogoutTypAccessToken:  idTokenFaults[TypAccessToken],
	LogoutCritUnknown:     idTokenFaults[CritUnknown],
	LogoutIssWrong:        idTokenFaults[IssWrong],
	LogoutIssAbsent:       idTokenFaults[IssAbsent],
	LogoutAudWrong:        idTokenFaults[AudWrong],
	LogoutAudAbsent:       idTokenFaults[AudAbsent],
	LogoutIatPast:         at("iat", -10*time.Minute),
	LogoutIatFuture:       at("iat", time.Hour),
	LogoutIatAbsent:       drop("iat"),
	LogoutExpPast:         at("exp", -10*time.Minute),
	LogoutJTIAbsent:       drop("jti"),
	LogoutNonce:           set("nonce", "n"),
	LogoutEventsAbsent:    drop("events"),
	LogoutEventsEmpty:     set("events", map[string]any{}),
	LogoutEventsOther:     set("events", map[string]any{"https://schemas.openid.net/secevent/risc/event-type/account-disabled": nil}),
	LogoutEventsNotObject: set("events", map[string]any{logoutEvent: true}),
	LogoutNobody: func(_ *OIDC, j *jwt) {
		delete(j.claims, "sub")
		delete(j.claims, "sid")
	},
	LogoutSubNumber: set("sub", 4711),
	LogoutSidEmpty:  set("sid", ""),
}

// LogoutToken returns a logout token that is right, but for its faults. It panics on an unknown client or fault, which is
// a mistake in the test.
func (o *OIDC) LogoutToken(l Logout) string {
	c, ok := o.client(l.Client)
	if !ok {
		panic(fmt.Sprintf("providertest: no client %q", l.Client))
	}
	alg := c.IDTokenAlg
	if alg == "" {
		alg = o.cfg.Alg
	}
	claims := map[string]any{
		"iss": o.cfg.Issuer, "aud": c.ID, "iat": o.unix(0), "exp": o.unix(2 * time.Minute), "jti": handle(),
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	if l.Subject != "" {
		claims["sub"] = l.Subject
	}
	if l.Session != "" {
		claims["sid"] = l.Session
	}
	j := o.newJWT(o.signingKey(alg), claims)
	j.header["typ"], j.secret = "logout+jwt", []byte(c.Secret)
	for _, f := range l.Faults {
		if !slices.Contains(LogoutFaults(), f) {
			panic(fmt.Sprintf("providertest: no logout fault %q", f))
		}
		logoutFaults[f](o, j)
	}
	if l.Edit != nil {
		l.Edit(j.header, j.claims)
	}
	token, err := o.encrypted(o.current(), c, j)
	if err != nil {
		panic(err) // Edit put something in that JSON has no form for
	}
	return token
}

// A LogoutAnswer is what a client answered.
type LogoutAnswer struct {
	Status int
	Header http.Header
	Body   string
}

// SendLogout posts a logout token, which may be any text and may have been sent before, to the client's
// BackchannelLogoutURI (Back-Channel Logout 1.0 §2.5).
func (o *OIDC) SendLogout(ctx context.Context, clientID, token string) (LogoutAnswer, error) {
	c, ok := o.client(clientID)
	if !ok || c.BackchannelLogoutURI == "" {
		return LogoutAnswer{}, fmt.Errorf("providertest: client %q has no BackchannelLogoutURI", clientID)
	}
	body := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, body)
	if err != nil {
		return LogoutAnswer{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return LogoutAnswer{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return LogoutAnswer{resp.StatusCode, resp.Header, string(answer)}, err
}
