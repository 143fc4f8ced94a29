package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/mail"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/token"
)

// A setup is a configuration without mistakes: what it says, and what was made of it.
type setup struct {
	config
	doc     *document
	options broker.Config // without Store and Logger
	cert    *tls.Certificate

	assigner
	clients map[provider.HTTPOptions]*http.Client // that providers share
	log     lateHandler                           // of the providers
}

// load reads a configuration file and all files that it names. The error has a line for each mistake.
func load(name string) (*setup, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return newSetup(name, text, info.Mode())
}

func newSetup(name string, text []byte, mode fs.FileMode) (*setup, error) {
	s := &setup{
		config:   config{Listen: "127.0.0.1:8080", Log: logging{Level: "info", Format: "text"}},
		assigner: assigner{}, clients: map[provider.HTTPOptions]*http.Client{},
	}
	s.doc = parse(name, text, &s.config)
	s.doc.checkInline(mode)
	s.checkListen()
	s.loadTLS()
	if _, _, err := s.storeKind(); err != nil && !s.doc.has("store") {
		s.doc.problem("store", "%v", err)
	}
	if _, err := redis.ParseURL(string(s.Redis)); err != nil && s.Redis != "" && !s.doc.has("redis") {
		s.doc.problem("redis", "is to be redis://HOST:PORT or rediss://HOST:PORT") // err may have a password in it
	}
	s.build()
	// A broker that nobody uses tells what else is wrong.
	trial := s.options
	kept := memstore.New()
	trial.Store = kept
	if s.Credentials {
		trial.Credentials = kept
	}
	if _, err := broker.New(trial); err != nil {
		s.doc.explain(cmp.Or(errors.Unwrap(err), err), reflect.TypeFor[config](), "")
	}
	return s, s.doc.err()
}

func (s *setup) checkListen() {
	_, port, err := net.SplitHostPort(s.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil && !s.doc.has("listen") {
		s.doc.problem("listen", `%q is no address to listen at, such as 127.0.0.1:8080 or :8443`, s.Listen)
	}
}

func (s *setup) loadTLS() {
	if s.TLS == nil || s.doc.has("tls") {
		return
	}
	if s.TLS.CertFile == "" || s.TLS.KeyFile == "" {
		s.doc.problem("tls", "needs both cert_file and key_file")
		return
	}
	chain, err := os.ReadFile(s.doc.resolve(s.TLS.CertFile))
	if err != nil {
		s.doc.problem("tls.cert_file", "%v", err)
		return
	}
	key, err := readSecret(s.doc.resolve(s.TLS.KeyFile))
	if err != nil {
		s.doc.problem("tls.key_file", "%v", err)
		return
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		s.doc.problem("tls", "certificate and key: %v", err)
	}
	s.cert = &pair
}

// storeKind says which store the key "store" means, and where it is.
func (s *setup) storeKind() (kind, where string, err error) {
	kind, where, _ = strings.Cut(string(s.Store), ":")
	switch kind {
	case "":
		return "", "", errors.New("is missing: sqlite:FILE keeps everything in that file, postgres://… in a PostgreSQL database; " +
			"memory forgets all of it at the end")
	case "memory":
		if where == "" && s.Store == "memory" {
			return kind, "", nil
		}
	case "sqlite":
		if where != "" && !strings.HasPrefix(where, "//") && !strings.ContainsAny(where, "?#%") {
			return kind, s.doc.resolve(where), nil
		}
	case "postgres", "postgresql":
		where, err := postgresAddress(string(s.Store))
		return "postgres", where, err
	}
	return "", "", errors.New("is to be sqlite:FILE, postgres://USER@HOST/DATABASE or memory") // it may have a password in it
}

// build makes the broker's configuration.
func (s *setup) build() {
	b := &s.options
	s.assign(b, s.config)
	s.assign(&b.Keys, s.Keys)
	s.assign(&b.ClientHTTP, s.ClientHTTP)
	flows := s.flows()
	b.FirstLogin, b.PostLogin = s.firstLogin(flows, s.FirstLogin, "first_login"), s.postLogin(flows, s.PostLogin, "post_login")
	b.Mailer = s.mailer()
	if s.Passkeys != nil {
		b.Passkeys = passkey.Site{RPID: s.Passkeys.RPID}
	}
	b.Theme = s.theme()
	for _, c := range s.Clients {
		var made store.Client
		s.assign(&made, c)
		b.Clients = append(b.Clients, made)
	}
	for i, u := range s.Providers {
		at := fmt.Sprintf("providers[%d]", i)
		made := s.provider(at, u)
		made.FirstLogin = s.firstLogin(flows, u.FirstLogin, at+".first_login")
		made.PostLogin = s.postLogin(flows, u.PostLogin, at+".post_login")
		b.Providers = append(b.Providers, made)
	}
	if len(s.Secrets) == 0 && !s.doc.has("secrets") {
		s.doc.problem("secrets", "is missing: give a list of at least one with 32 random bytes, for instance from openssl rand -base64 32")
	}
	if u, err := url.Parse(s.BaseURL); err == nil {
		for _, own := range []string{livePath, readyPath} {
			if u.Path == own || strings.HasPrefix(u.Path, own+"/") {
				s.doc.problem("base_url", "%s is an address of this server itself", own)
			}
		}
	}
}

// mailer returns what sends mail, nil if nothing does.
func (s *setup) mailer() broker.Mailer {
	switch {
	case s.Mailer == nil || s.doc.has("mail"):
		return nil
	case (s.Mailer.SMTP == nil) == (s.Mailer.Directory == ""):
		s.doc.problem("mail", "is to have one of smtp and directory")
		return nil
	case s.Mailer.SMTP == nil:
		return mail.Directory(s.doc.resolve(s.Mailer.Directory))
	}
	var made mail.SMTP
	s.assign(&made, *s.Mailer.SMTP)
	if err := made.Check(); err != nil {
		s.doc.explain(errors.Unwrap(err), reflect.TypeFor[smtp](), "mail.smtp")
		return nil
	}
	return &made
}

func (s *setup) theme() fs.FS {
	if s.Theme == "" {
		return nil
	}
	folder := s.doc.resolve(s.Theme)
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", folder)
	}
	if err != nil {
		s.doc.problem("theme", "%v", err)
		return nil
	}
	return os.DirFS(folder)
}

func (s *setup) provider(path string, u upstream) broker.Provider {
	var made broker.Provider
	s.assign(&made, u)
	made.Sync, made.Logout, made.ShowInAccount = u.Sync.mode(), u.Logout.mode(), u.ShowInAccount.mode()
	made.StoreTokens = u.StoreTokens.mode()
	made.Icon = s.icon(path+".icon", u.Icon)
	made.Mappers = s.mappers(path+".mappers", u.Mappers)
	if u.Type == "" && !s.doc.has(path+".type") {
		s.doc.problem(path+".type", "is missing: say oidc, oauth2, saml, or the name of a vendor such as google")
	}
	s.checkType(path, u)
	var idp provider.IdentityProvider
	var err error
	switch u.Type {
	case "": // which was told
		idp = mistaken{}
	case "saml":
		idp, err = s.samlProvider(path+".saml", u.SAML)
	case "oauth2":
		idp, err = s.oauth2Provider(path+".oauth2", u.OAuth2)
	default:
		if _, known := vendors[u.Type]; known {
			idp, err = s.socialProvider(path+".social", u.Type, u.Social)
			break
		}
		if idp, err = oidc.New(s.openID(path, u.openID)); err != nil {
			s.doc.explain(err, reflect.TypeFor[upstream](), path)
		}
	}
	if err != nil {
		idp = mistaken{} // so that one without is not told as one more
	}
	made.IdP = idp
	return made
}

// mistaken stands for a provider whose mistakes were told.
type mistaken struct{ provider.IdentityProvider }

func (s *setup) openID(path string, o openID) oidc.Config {
	var made oidc.Config
	s.assign(&made, o)
	s.assign(&made.Endpoints, o.Endpoints)
	made.HTTPClient = s.client(provider.HTTPOptions{
		InsecureAllowPrivateNetworks: o.InsecureAllowPrivateNetworks, InsecureAllowHTTP: o.InsecureAllowHTTP,
	})
	if o.ClientKey != nil {
		var err error
		if made.ClientKey, err = newKey(*o.ClientKey); err != nil {
			made.AuthMethod = oidc.NoClientAuth // so that it does not count as one more mistake
			if !s.doc.has(path + ".client_key") {
				s.doc.problem(path+".client_key", "%v", err)
			}
		}
	}
	for i, k := range o.DecryptionKeys {
		at := fmt.Sprintf("%s.decryption_keys[%d]", path, i)
		key, err := newKey(k)
		if err != nil && !s.doc.has(at) {
			s.doc.problem(at, "%v", err)
		}
		made.DecryptionKeys = append(made.DecryptionKeys, key)
	}
	return made
}

// client returns what fetches for providers with these options: one for all, as each has connections of its own.
func (s *setup) client(o provider.HTTPOptions) *http.Client {
	if s.clients[o] == nil {
		s.clients[o] = provider.NewHTTPClient(o)
	}
	return s.clients[o]
}

// forget lets go of what is only needed until a broker was made.
func (s *setup) forget() {
	s.options, s.Providers, s.Clients, s.doc.root = broker.Config{}, nil, nil, nil
}

// newKey reads a private key in PEM. The id is the key's thumbprint where none is given.
func newKey(k privateKey) (token.Key, error) {
	der, err := pkcs8(k.Private)
	if err != nil {
		return token.Key{}, err
	}
	private, err := token.ParseKey(der)
	if err != nil {
		return token.Key{}, err
	}
	id, err := token.KeyID(private.Public())
	return token.Key{ID: cmp.Or(k.ID, id), Algorithm: k.Algorithm, Private: private}, err
}

// pkcs8 returns what is in the PEM block of a private key.
func pkcs8(private secret) ([]byte, error) {
	block, rest := pem.Decode([]byte(private))
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New(`private is to be one PEM block "PRIVATE KEY" (PKCS #8), as openssl genpkey writes it`)
	}
	return block.Bytes, nil
}

const maxIcon = 1 << 20 // the broker says what it takes; this is only no device that never ends

func (s *setup) icon(path, name string) []byte {
	if name == "" {
		return nil
	}
	file, err := os.Open(s.doc.resolve(name))
	if err != nil {
		s.doc.problem(path, "%v", err)
		return nil
	}
	defer file.Close() //nolint:errcheck // it was only read
	image, err := io.ReadAll(io.LimitReader(file, maxIcon))
	if err != nil {
		s.doc.problem(path, "%v", err)
	}
	return image
}

// An assigner knows which field goes where, by the types of target and origin: reflection is slow, and providers are many.
type assigner map[[2]reflect.Type][]assignment

type assignment struct {
	from, to []int // of the field
	how      func(to, from reflect.Value)
}

// assign sets the fields of the struct that target points to from those of from that have the same name and the same kind
// of value. The others need a line of their own, and the test of the keys finds those that have none.
func (a assigner) assign(target, from any) {
	to, have := reflect.ValueOf(target).Elem(), reflect.ValueOf(from)
	types := [2]reflect.Type{to.Type(), have.Type()}
	if _, ok := a[types]; !ok {
		a[types] = assignments(types[0], types[1])
	}
	for _, one := range a[types] {
		if value := have.FieldByIndex(one.from); !value.IsZero() {
			one.how(to.FieldByIndex(one.to), value)
		}
	}
}

func assignments(to, from reflect.Type) (list []assignment) {
	for _, field := range reflect.VisibleFields(from) {
		target, ok := to.FieldByName(field.Name)
		one := assignment{from: field.Index, to: target.Index}
		switch {
		case field.Anonymous || !ok:
			continue
		case field.Type == reflect.TypeFor[[]secret]():
			one.how = func(to, from reflect.Value) {
				for i := range from.Len() {
					to.Set(reflect.Append(to, reflect.ValueOf([]byte(from.Index(i).String()))))
				}
			}
		case field.Type.AssignableTo(target.Type):
			one.how = reflect.Value.Set
		case listOf(field.Type, target.Type):
			one.how = func(to, from reflect.Value) {
				for i := range from.Len() {
					to.Set(reflect.Append(to, from.Index(i).Convert(to.Type().Elem())))
				}
			}
		case field.Type.Kind() == reflect.String && target.Type.Kind() == reflect.String:
			one.how = func(to, from reflect.Value) { to.SetString(from.String()) }
		default:
			continue
		}
		list = append(list, one)
	}
	return list
}

// listOf reports whether one is a list of mappings that have the fields of the other's elements.
func listOf(from, to reflect.Type) bool {
	return from.Kind() == reflect.Slice && to.Kind() == reflect.Slice && from.Elem().Kind() == reflect.Struct &&
		from.Elem().ConvertibleTo(to.Elem())
}

// newLogger returns the log of this process, and its level, which can be changed later.
func newLogger(c logging, to io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Level.level())
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, options)), level
	}
	return slog.New(slog.NewTextHandler(to, options)), level
}

func (l logLevel) level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l)) // it is one of names
	return level
}
