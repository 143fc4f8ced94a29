// Command saml is an application whose only customer signs in by SAML 2.0, with single logout.
//
//	go run -C examples ./saml                                                   with a demo identity provider
//	go run -C examples ./saml -metadata https://idp.example/metadata -key key.pem -cert cert.pem
//
// README.md says what to register at Okta, Entra and AD FS.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"html"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// alias is the customer's name in addresses and links. It can never be changed.
const alias = "customer"

// A customer is what an administrator was told about the customer's identity provider.
type customer struct {
	metadata string // where its metadata is
	format   saml.NameIDFormat
	subject  string // the attribute that says who it is; "" is the NameID
	insecure bool   // it is on this machine, without TLS
}

// newApp returns the application at origin: the broker at /id, and a page for those who are signed in everywhere else.
func newApp(origin string, key saml.Key, c customer) (http.Handler, error) {
	idp, err := saml.New(saml.Config{
		EntityID:         entityID(origin),
		MetadataURL:      c.metadata,
		SigningKeys:      []saml.Key{key},
		DecryptionKeys:   []saml.Key{key}, // it may encrypt; one key for both will do
		NameIDFormat:     c.format,
		SubjectAttribute: c.subject,
		EmailVerified:    true, // the customer's own directory, whose word about its own people is good

		InsecureAllowHTTP: c.insecure, InsecureAllowPrivateNetworks: c.insecure,
	})
	if err != nil {
		return nil, err
	}
	b, err := broker.New(broker.Config{
		BaseURL:         origin + "/id",
		Secrets:         [][]byte{[]byte(rand.Text() + rand.Text())}, // in earnest the same at every start
		Store:           memstore.New(),                              // in earnest one that remembers
		DefaultProvider: alias,                                       // no page to choose from one
		Providers: []broker.Provider{{
			Alias: alias, Name: "Your company", IdP: idp, TrustEmail: true, Sync: provider.SyncForce, Logout: provider.LogoutPerform,
		}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(http.HandlerFunc(page)))
	return mux, nil
}

func page(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>App</title><p>Hello, %s (%s). <a href="/id/logout">Sign out</a></p>`,
		html.EscapeString(user.Name), html.EscapeString(user.Email))
}

// entityID is the application's name at the identity provider, and acs where answers go.
func entityID(origin string) string { return origin + "/id/broker/" + alias }
func acs(origin string) string      { return brokertest.CallbackURL(origin+"/id", alias) }

// newDemo returns an identity provider at the address url that knows the application at origin.
func newDemo(url, origin string, key saml.Key) (*providertest.SAML, error) {
	return providertest.NewSAML(providertest.SAMLConfig{
		URL: url, Name: "Your company",
		Providers: []providertest.SAMLServiceProvider{{
			EntityID: entityID(origin), ACS: []string{acs(origin)}, Logout: acs(origin) + "/logout",
			Certificates: []*x509.Certificate{key.Certificate}, EncryptTo: key.Certificate,
		}},
	})
}

// loadKey reads a private key and its certificate, both in PEM, or makes them if there are no files. Who has issued the
// certificate and until when does not matter, only that the identity provider has it.
func loadKey(keyFile, certFile string) (saml.Key, error) {
	if keyFile != "" || certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return saml.Key{}, err
		}
		private, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return saml.Key{}, errors.New("the key cannot sign")
		}
		return saml.Key{Private: private, Certificate: pair.Leaf}, nil
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return saml.Key{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idbroker demo"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return saml.Key{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return saml.Key{Private: private, Certificate: certificate}, err
}

func serve(listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func run() error {
	address := flag.String("addr", "127.0.0.1:8080", "where to listen")
	origin := flag.String("origin", "", "how browsers reach it, where a proxy speaks TLS: https://app.example (http://ADDR)")
	metadata := flag.String("metadata", "", "URL of the identity provider's metadata (a demo)")
	format := flag.String("name-id-format", "", "URI of what the NameID is to be (persistent)")
	subject := flag.String("subject-attribute", "", "name of the attribute that says who it is (the NameID)")
	keyFile := flag.String("key", "", "file with a private key in PEM (made at the start)")
	certFile := flag.String("cert", "", "file with its certificate in PEM")
	flag.Parse()
	key, err := loadKey(*keyFile, *certFile)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address) //nolint:noctx // at the start of a program
	if err != nil {
		return err
	}
	if *origin == "" {
		*origin = "http://" + listener.Addr().String()
	}
	c := customer{metadata: *metadata, format: saml.NameIDFormat(*format), subject: *subject}
	if c.metadata == "" {
		upstream, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // as above
		if err != nil {
			return err
		}
		demo, err := newDemo("http://"+upstream.Addr().String(), *origin, key)
		if err != nil {
			return err
		}
		go serve(upstream, demo) //nolint:errcheck // it ends with the program
		c.metadata, c.insecure = demo.EntityID(), true
	}
	app, err := newApp(strings.TrimSuffix(*origin, "/"), key, c)
	if err != nil {
		return err
	}
	log.Printf("open %s; to register it: %s/descriptor", *origin, acs(*origin))
	return serve(listener, app)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
