package mail

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-idbroker/idbroker/broker"
)

// Directory is the path of a folder into which mail is written instead of being sent, one file a mail, for development: any
// mail program opens them. Whoever can read the folder can prove every e-mail address, so nobody else can by default. The
// names of the files sort by time. The folder is made if it is not there.
type Directory string

var _ broker.Mailer = Directory("")

// Insecure says that the mail reaches nobody, for the broker to log at start.
func (d Directory) Insecure() []string { return []string{"Directory"} }

// Send implements [broker.Mailer]. A file is there whole or not at all.
func (d Directory) Send(ctx context.Context, m *broker.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	msg, err := compose("idbroker <idbroker@localhost>", m, now)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	var text bytes.Buffer
	if _, err := msg.WriteTo(&text); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	name := filepath.Join(string(d), now.UTC().Format("20060102T150405.000000000Z")+"-"+rand.Text()[:8]+".eml")
	if err := os.WriteFile(name+".part", text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("mail: %w", errors.Join(err, os.Remove(name+".part")))
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}
