package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/go-idbroker/idbroker/broker"
)

// SMTP sends mail over a mail server (RFC 5321, RFC 6409), over TLS and no other way: by STARTTLS (RFC 3207), without which it
// does not go on, or with TLS from the start. It opens a connection for each mail. It is safe for concurrent use as long as
// nobody writes its fields.
type SMTP struct {
	// Addr is host:port of the server: usually port 587, or 465 with ImplicitTLS. The server's certificate has to be for the host.
	Addr string
	// From is whom the mail is from, such as "Example <no-reply@example.com>".
	From string
	// Username and Password authenticate to the server, by the strongest way it offers, or with ImplicitTLS by PLAIN (RFC
	// 4616); empty does not.
	Username, Password string
	// ImplicitTLS speaks TLS from the start (RFC 8314 §3.3), as servers on port 465 want it.
	ImplicitTLS bool
	// RootCAs verify the server's certificate; nil are the system's.
	RootCAs *x509.CertPool
	// Timeout is for one whole mail. 0 is fifteen seconds.
	Timeout time.Duration
	// InsecurePlaintext speaks to a server that has no TLS: everybody on the way can read the links, which are proofs. It is
	// for a server on this machine, and not possible with a Password.
	InsecurePlaintext bool
}

var _ broker.Mailer = (*SMTP)(nil)

// Check returns what is wrong with the fields, all at once, without a connection.
func (s *SMTP) Check() error {
	var errs []error
	if _, _, err := s.addr(); err != nil {
		errs = append(errs, err)
	}
	if _, err := mail.ParseAddress(s.From); err != nil {
		errs = append(errs, fmt.Errorf("From: %q is not an address such as Example <no-reply@example.com>", s.From))
	}
	if s.Password != "" && s.Username == "" {
		errs = append(errs, errors.New("Password: is set without a Username"))
	}
	if s.InsecurePlaintext && s.Password != "" {
		errs = append(errs, errors.New("Password: would travel in the clear because of InsecurePlaintext"))
	}
	if s.InsecurePlaintext && s.ImplicitTLS {
		errs = append(errs, errors.New("ImplicitTLS and InsecurePlaintext: cannot both be"))
	}
	if s.Timeout < 0 {
		errs = append(errs, errors.New("Timeout: must not be negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mail: SMTP: %w", err)
	}
	return nil
}

// Insecure names what was weakened on purpose, for the broker to log at start.
func (s *SMTP) Insecure() []string {
	if s.InsecurePlaintext {
		return []string{"InsecurePlaintext"}
	}
	return nil
}

func (s *SMTP) addr() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(s.Addr)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("Addr: %q is not host:port such as smtp.example.com:587", s.Addr)
	}
	return host, port, nil
}

// Send implements [broker.Mailer].
func (s *SMTP) Send(ctx context.Context, m *broker.Message) error {
	if err := s.Check(); err != nil {
		return err
	}
	msg, err := compose(s.From, m, time.Now())
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	// The client leaves a connection open on which it failed, and does not look at ctx once it is there.
	client, err := s.client(func(c net.Conn) { context.AfterFunc(ctx, func() { _ = c.Close() }) })
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("mail: send by %s: %w", s.Addr, redact(err))
	}
	return nil
}

// redact keeps to the log what a mail server said without whom the mail was to.
func redact(err error) error {
	failure, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("refused (%v, temporary: %t)", failure.Reason, failure.IsTemp())
}

func (s *SMTP) timeout() time.Duration {
	if s.Timeout == 0 {
		return 15 * time.Second
	}
	return s.Timeout
}

// client returns a client that shows each of its connections to opened.
func (s *SMTP) client(opened func(net.Conn)) (*gomail.Client, error) {
	host, port, err := s.addr()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: host, RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
	dial := (&net.Dialer{}).DialContext
	if s.ImplicitTLS {
		dial = (&tls.Dialer{Config: config}).DialContext
	}
	options := []gomail.Option{
		gomail.WithPort(port),
		gomail.WithTimeout(s.timeout()),
		gomail.WithTLSPolicy(gomail.TLSMandatory),
		gomail.WithTLSConfig(config),
		gomail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err == nil {
				opened(c)
			}
			return c, err
		}),
	}
	if s.ImplicitTLS {
		options = append(options, gomail.WithSSL())
	}
	if s.InsecurePlaintext {
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if s.Username != "" {
		auth := gomail.SMTPAuthAutoDiscover
		if s.ImplicitTLS { // the client does not see that our connection is encrypted, and would look for ways without TLS
			auth = gomail.SMTPAuthPlain
		}
		options = append(options, gomail.WithSMTPAuth(auth), gomail.WithUsername(s.Username), gomail.WithPassword(s.Password))
	}
	return gomail.NewClient(host, options...)
}
