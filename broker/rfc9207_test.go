package broker_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// OAuth 2.0 Authorization Server Issuer Identification, section by section. §2.4, where the broker itself is the client, is in
// the package provider/oidc: TestRFC9207Section2_4.

func TestRFC9207Section2(t *testing.T) { // every answer says whose it is, good or bad
	t.Parallel()
	w := consenting(t, nil)
	b := w.login("Demo")
	page := b.Get(w.URL + "/authorize?" + w.authParams().Encode())
	denied := page.Submit(deny)
	posted1 := posted(t, w.authorize(changed(w.authParams(), func(v url.Values) { v.Set("response_mode", "form_post"); v.Set("scope", "x") }), b), w.callback())
	allowed := b.Get(w.URL + "/authorize?" + w.authParams().Encode()).Submit(allow)
	posted2 := posted(t, w.authorize(changed(w.authParams(), set("response_mode", "form_post")), b), w.callback())
	_, refused := w.authorize(changed(w.authParams(), set("prompt", "none")), nil).location(t)
	back := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.authParams().Encode()).Click("Back to")
	_, pushed := w.authorize(w.pushed(nil), b).location(t)
	for name, answer := range map[string]url.Values{
		"code": w.answered(allowed), "denied": w.answered(denied), "posted error": posted1, "posted code": posted2, "refused": refused,
		"back": w.answered(back), "pushed": pushed,
	} {
		if answer["iss"] == nil || len(answer["iss"]) != 1 || answer.Get("iss") != w.URL || answer.Has("code") == answer.Has("error") {
			t.Errorf("%s: answered %v", name, answer)
		}
	}
}

func TestRFC9207Section2_3(t *testing.T) { // iss is the issuer of the metadata, byte by byte, and metadata says that it comes
	t.Parallel()
	w := newWorld(t, nil)
	var doc struct {
		Issuer    string `json:"issuer"`
		Supported bool   `json:"authorization_response_iss_parameter_supported"`
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		if err := json.Unmarshal([]byte(send(t, http.MethodGet, w.URL+path, nil, nil).text), &doc); err != nil {
			t.Fatal(err)
		}
		_, query := w.authorize(w.authParams(), w.login("Demo")).location(t)
		if !doc.Supported || query.Get("iss") != doc.Issuer {
			t.Errorf("%s: issuer %q, supported %v, iss %q", path, doc.Issuer, doc.Supported, query.Get("iss"))
		}
	}
}
