package oidc_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// The secret of the moment is asked for with each request.
func TestClientSecretFunc(t *testing.T) {
	t.Parallel()
	for method, sent := range map[oidc.AuthMethod]func(*http.Request) string{
		"":                    func(r *http.Request) string { _, s, _ := r.BasicAuth(); return s },
		oidc.ClientSecretPost: func(r *http.Request) string { return r.PostForm.Get("client_secret") },
	} {
		o := newOP(t)
		secrets := []string{"first", "second"}
		o.auth = func(r *http.Request) bool { return sent(r) == secrets[0] }
		cfg := o.config()
		cfg.ClientSecret, cfg.AuthMethod = "", method
		cfg.ClientSecretFunc = func() (string, error) { return secrets[0], nil }
		p := newProvider(t, cfg)
		o.must(t, p)
		secrets = secrets[1:]
		o.must(t, p)
	}
}

func TestClientSecretFuncFails(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func() (string, error){
		"error": func() (string, error) { return "", errors.New("the vault is shut") },
		"empty": func() (string, error) { return "", nil },
	} {
		o := newOP(t)
		cfg := o.config()
		cfg.ClientSecret, cfg.ClientSecretFunc = "", f
		_, err := o.login(t, newProvider(t, cfg))
		refused(t, err, provider.Misconfigured, "client secret")
		if strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: error %q", name, err)
		}
		if n := o.count("/token"); n != 0 {
			t.Errorf("%s: %d requests without a secret", name, n)
		}
	}
}
