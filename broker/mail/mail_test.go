package mail_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/mail"
)

func message() *broker.Message {
	return &broker.Message{To: "ann@example.com", Subject: "Bestätigen Sie", Text: "Hello\n\nhttps://b.example/?t=secret", HTML: "<p>Hello</p>", Language: "de"}
}

// A server is a mail server on loopback that speaks as much of RFC 5321 as one mail takes.
type server struct {
	addr     string
	tls      *tls.Config
	roots    *x509.CertPool
	implicit bool
	noTLS    bool   // offers no STARTTLS
	oldTLS   bool   // speaks no TLS after 1.1
	silent   bool   // never greets
	refuse   string // the answer to RCPT
	got      chan string
}

func (s *server) start(t *testing.T) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AddCert(parsed)
	s.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if s.oldTLS {
		s.tls.MinVersion, s.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if s.implicit {
		l = tls.NewListener(l, s.tls)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.addr, s.got = l.Addr().String(), make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

// serve puts what the client said, line by line, into got once it has delivered a mail or gone.
func (s *server) serve(c net.Conn) {
	defer c.Close()
	var heard strings.Builder
	defer func() { s.got <- heard.String() }()
	r := bufio.NewReader(c)
	_, secure := c.(*tls.Conn)
	say := func(line string) { _, _ = fmt.Fprint(c, line+"\r\n") }
	if s.silent {
		_, _ = r.ReadByte() // until the client goes
		return
	}
	say("220 test")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		fmt.Fprintf(&heard, "%t %s\n", secure, line)
		switch verb, _, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-test")
			if !secure && !s.noTLS {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, s.tls)
			r, secure = bufio.NewReader(c), true
		case "AUTH":
			say("235 welcome")
		case "RCPT":
			if s.refuse != "" {
				say(s.refuse)
				continue
			}
			say("250 ok")
		case "DATA":
			say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				heard.WriteString(line)
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*server{"STARTTLS": {}, "implicit TLS": {implicit: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.start(t)
			m := &mail.SMTP{Addr: s.addr, From: "Example <no-reply@example.com>", Username: "u", Password: "p4ssword", ImplicitTLS: s.implicit, RootCAs: s.roots}
			if err := m.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			got := <-s.got
			auth := "true AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00u\x00p4ssword"))
			for _, want := range []string{auth, "true MAIL FROM:<no-reply@example.com>", "true RCPT TO:<ann@example.com>", "Content-Language: de",
				"Auto-Submitted: auto-generated", "Content-Type: multipart/alternative", "text/plain", "text/html", "https://b.example/"} {
				if !strings.Contains(got, want) {
					t.Errorf("the server did not hear %q:\n%s", want, got)
				}
			}
		})
	}
}

// Nothing is said in the clear: neither the password nor a mail, whose links are proofs.
func TestSMTPWithoutTLS(t *testing.T) {
	t.Parallel()
	s := (&server{noTLS: true}).start(t)
	m := &mail.SMTP{Addr: s.addr, From: "a@example.com", Username: "u", Password: "p4ssword", RootCAs: s.roots}
	if err := m.Send(t.Context(), message()); err == nil {
		t.Error("mail was sent to a server without TLS")
	}
	if got := <-s.got; strings.Contains(got, "AUTH") || strings.Contains(got, "MAIL") {
		t.Errorf("said in the clear:\n%s", got)
	}
	m.Username, m.Password = "", "" // nor is a mail, where there is no password to keep back
	if err := m.Send(t.Context(), message()); err == nil {
		t.Error("mail was sent to a server without TLS, by somebody without a password")
	}
	if got := <-s.got; strings.Contains(got, "MAIL") {
		t.Errorf("said in the clear:\n%s", got)
	}
	plain := &mail.SMTP{Addr: s.addr, From: "a@example.com", InsecurePlaintext: true}
	if err := plain.Send(t.Context(), message()); err != nil || len(plain.Insecure()) != 1 {
		t.Errorf("got %v, %v; want mail as it was asked for, and a warning", err, plain.Insecure())
	}
	plain.Username, plain.Password = "u", "p"
	if err := plain.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("got %v for a password in the clear", err)
	}
}

func TestSMTPStranger(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	m := &mail.SMTP{Addr: s.addr, From: "a@example.com", Username: "u", Password: "p4ssword"} // the system does not know its authority
	if err := m.Send(t.Context(), message()); err == nil {
		t.Error("a server with a stranger's certificate got the mail")
	}
	if got := <-s.got; strings.Contains(got, "AUTH") {
		t.Errorf("it got the password:\n%s", got)
	}
}

// Dex CVE-2024-23656: what is configured for TLS holds for the connection, by either way to it.
func TestSMTPOldTLS(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*server{"STARTTLS": {}, "implicit TLS": {implicit: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.oldTLS = true
			s.start(t)
			m := &mail.SMTP{Addr: s.addr, From: "a@example.com", Username: "u", Password: "p4ssword", ImplicitTLS: s.implicit, RootCAs: s.roots}
			if err := m.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), "protocol version") {
				t.Errorf("got %v, want TLS 1.1 refused", err)
			}
			if got := <-s.got; strings.Contains(got, "AUTH") || strings.Contains(got, "MAIL") {
				t.Errorf("said over TLS 1.1:\n%s", got)
			}
		})
	}
}

// What a server says of an address does not reach the log.
func TestSMTPRefusal(t *testing.T) {
	t.Parallel()
	s := (&server{refuse: "550 no ann@example.com here"}).start(t)
	err := (&mail.SMTP{Addr: s.addr, From: "a@example.com", RootCAs: s.roots}).Send(t.Context(), message())
	if err == nil || strings.Contains(err.Error(), "ann@") {
		t.Errorf("got %v, want an error that names nobody", err)
	}
}

func TestSMTPTimeout(t *testing.T) {
	t.Parallel()
	s := (&server{silent: true}).start(t)
	err := (&mail.SMTP{Addr: s.addr, From: "a@example.com", Timeout: 50 * time.Millisecond}).Send(t.Context(), message())
	if err == nil {
		t.Error("a server that says nothing took the mail")
	}
}

func TestSMTPCheck(t *testing.T) {
	t.Parallel()
	bad := &mail.SMTP{Addr: "smtp.example.com", From: "nobody", Password: "p4ssword", InsecurePlaintext: true, ImplicitTLS: true, Timeout: -1}
	err := bad.Check()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Addr:", "From:", "without a Username", "in the clear", "cannot both", "Timeout:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "p4ssword") {
		t.Error("the error has the password")
	}
	if err := (&mail.SMTP{Addr: "smtp.example.com:587", From: "a@example.com"}).Check(); err != nil {
		t.Error(err)
	}
}

// One address is one address, whoever typed it (advisories: header injection).
func TestRecipients(t *testing.T) {
	t.Parallel()
	dir := mail.Directory(t.TempDir())
	for _, to := range []string{"", "ann", "a@example.com, b@example.com", "Ann <a@example.com>", "a@example.com\r\nBcc: b@example.com", "<a@example.com>", "a@example.com\n"} {
		m := message()
		m.To = to
		if err := dir.Send(t.Context(), m); err == nil {
			t.Errorf("sent to %q", to)
		}
	}
	if left, err := os.ReadDir(string(dir)); err != nil || len(left) > 0 {
		t.Errorf("wrote %v, %v", left, err)
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	ctx, cancel := context.WithCancel(t.Context())
	m := message()
	m.Subject = "two\r\nBcc: lines@example.com"
	if err := mail.Directory(dir).Send(ctx, m); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 || filepath.Ext(files[0]) != ".eml" {
		t.Fatalf("got files %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others can read the proofs", info.Mode(), err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := netmail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header.Get("To") != "<ann@example.com>" || parsed.Header.Get("Bcc") != "" || parsed.Header.Get("Message-Id") == "" {
		t.Errorf("got header %v", parsed.Header)
	}
	cancel()
	if err := mail.Directory(dir).Send(ctx, message()); err == nil {
		t.Error("sent after the end of the context")
	}
}
