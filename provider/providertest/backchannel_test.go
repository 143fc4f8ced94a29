package providertest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A client that others wrote takes logout tokens, and refuses what it checks of their faults.
func TestLogoutToken(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	verifier := p.provider.Verifier(&oidc.Config{ClientID: p.client.ID})
	logout := providertest.Logout{Client: p.client.ID, Subject: "sub", Session: "sid"}
	got, err := verifier.VerifyLogout(t.Context(), op.LogoutToken(logout))
	if err != nil || got.Subject != "sub" || got.SessionID != "sid" || got.TokenID == "" {
		t.Fatalf("got %+v, %v", got, err)
	}
	tolerated := map[providertest.LogoutFault]bool{ // by go-oidc, which leaves them to its caller
		providertest.LogoutTypAccessToken: true, providertest.LogoutIatPast: true, providertest.LogoutIatFuture: true,
		providertest.LogoutIatAbsent: true, providertest.LogoutJTIAbsent: true, providertest.LogoutEventsNotObject: true,
		providertest.LogoutSidEmpty: true,
	}
	for _, fault := range providertest.LogoutFaults() {
		l := logout
		l.Faults = []providertest.LogoutFault{fault}
		if _, err := verifier.VerifyLogout(t.Context(), op.LogoutToken(l)); err == nil && !tolerated[fault] {
			t.Errorf("%s: accepted", fault)
		}
	}
	edited := op.LogoutToken(providertest.Logout{Client: p.client.ID, Edit: func(header, claims map[string]any) {
		header["typ"], claims["sid"] = "x", "edited"
	}})
	header, _ := part(t, edited, 0)
	claims, _ := part(t, edited, 1)
	if header["typ"] != "x" || claims["sid"] != "edited" || claims["sub"] != nil {
		t.Errorf("edited: %v %v", header, claims)
	}
}

func TestSendLogout(t *testing.T) {
	t.Parallel()
	received := make(chan string, 1)
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r.Method + " " + r.PostFormValue("logout_token")
		http.Error(w, "no", http.StatusBadRequest)
	}))
	t.Cleanup(client.Close)
	op := providertest.StartOIDC(t, fast())
	c := op.Register(providertest.Client{BackchannelLogoutURI: client.URL})
	answer, err := op.SendLogout(t.Context(), c.ID, "a.b.c")
	if err != nil || answer.Status != http.StatusBadRequest || answer.Body != "no\n" {
		t.Errorf("got %+v, %v", answer, err)
	}
	if got := <-received; got != "POST a.b.c" {
		t.Errorf("received %q", got)
	}
	for _, id := range []string{"unknown", op.Register(providertest.Client{}).ID} {
		if _, err := op.SendLogout(t.Context(), id, "a.b.c"); err == nil {
			t.Errorf("sent to client %q, which has no address", id)
		}
	}
}
