package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	brokermail "github.com/go-idbroker/idbroker/broker/mail"
)

// A mailServer is one that speaks STARTTLS with a certificate of a private authority, and takes mail from whoever knows the
// password. It has a mailbox for everybody.
type mailServer struct {
	address string
	roots   *x509.CertPool
	mails   chan letter
}

// A letter is a mail that has arrived.
type letter struct{ from, to, subject, text, html string }

const smtpUser, smtpPassword = "idbroker", "a password of the tests"

func startMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{mails: make(chan letter, 32)}
	certificate, roots := privateAuthority(t)
	s.roots = roots
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &smtpSession{server: s, conn: c}, nil
	}))
	server.Domain = "127.0.0.1"
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// mailer is what a broker sends mail with to this server.
func (s *mailServer) mailer() *brokermail.SMTP {
	return &brokermail.SMTP{
		Addr: s.address, From: "Your App <no-reply@app.example>", Username: smtpUser, Password: smtpPassword, RootCAs: s.roots,
	}
}

// wait returns the next mail, which has to be for to.
func (s *mailServer) wait(t *testing.T, to string) letter {
	t.Helper()
	select {
	case l := <-s.mails:
		if l.to != to {
			t.Fatalf("mail for %s, want one for %s:\n%s", l.to, to, l.text)
		}
		return l
	case <-time.After(browserPatience):
		t.Fatalf("no mail for %s", to)
	}
	return letter{}
}

// link returns the address that a mail asks to open.
func (l letter) link(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`https?://\S+`).FindString(l.text)
	if found == "" {
		t.Fatalf("no link in the mail:\n%s", l.text)
	}
	return found
}

type smtpSession struct {
	server   *mailServer
	conn     *smtp.Conn
	known    bool
	from, to string
}

// AuthMechanisms offers none without TLS.
func (s *smtpSession) AuthMechanisms() []string {
	if _, encrypted := s.conn.TLSConnectionState(); !encrypted {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *smtpSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != smtpUser || password != smtpPassword {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

func (s *smtpSession) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *smtpSession) Data(r io.Reader) error {
	l, err := readLetter(r)
	l.from, l.to = s.from, s.to
	s.server.mails <- l
	return err
}

func (*smtpSession) Reset()        {}
func (*smtpSession) Logout() error { return nil }

// readLetter reads a mail of two parts, which say the same.
func readLetter(r io.Reader) (l letter, err error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return l, err
	}
	if l.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return l, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return l, err
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
		var body io.Reader = part
		if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
			body = quotedprintable.NewReader(part)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(body); err != nil {
			return l, err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			l.html = text.String()
		} else {
			l.text = text.String()
		}
	}
}

// privateAuthority makes a certificate for this machine's loopback address, and what it is to be verified by.
func privateAuthority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	sign := func(c, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	begin, end := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An authority of the tests"}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca = sign(ca, ca, caKey, caKey)
	leaf := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: begin, NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key, caKey)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, roots
}
