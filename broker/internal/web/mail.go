package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// maxMailArg is how many characters of a value a mail shows; an e-mail address has up to 254 bytes.
const maxMailArg = 254

// A Mail is one mail to be rendered. What it says are the messages mail.<Name>.subject, .text, .button and .hint, of which
// the last two may be missing.
type Mail struct {
	Name string
	Args map[string]string // of the placeholders in its messages
	Link string            // an absolute URL to be followed, "" for none
	Code string            // to be typed in, "" for none
}

// A RenderedMail is what a person gets.
type RenderedMail struct{ Subject, Text, HTML string }

// mailView is what the template of a mail sees.
type mailView struct {
	Lang, Dir, Product                             string
	Subject, Text, Hint, Button, Link, Plain, Code string
}

// Mail renders m in the language, or else in English.
func (p *Pages) Mail(lang string, m Mail) (*RenderedMail, error) {
	if !slices.Contains(p.words.langs, lang) {
		lang = p.words.def()
	}
	v := mailView{Lang: lang, Dir: direction(lang), Product: p.name, Link: m.Link, Code: m.Code}
	args := map[string]string{"product": p.name}
	for name, value := range m.Args {
		args[name] = oneLine(value)
	}
	for _, part := range []struct {
		to       *string
		key      string
		optional bool
	}{
		{&v.Subject, "mail." + m.Name + ".subject", false},
		{&v.Text, "mail." + m.Name + ".text", false},
		{&v.Hint, "mail." + m.Name + ".hint", true},
		{&v.Button, "mail." + m.Name + ".button", m.Link == ""},
		{&v.Plain, "mail.plain", false},
	} {
		if part.optional && !p.words.known(lang, part.key) {
			continue
		}
		text, err := p.words.either(lang, args, []string{part.key})
		if err != nil {
			return nil, err
		}
		*part.to = text
	}
	var html bytes.Buffer
	if err := p.mail.Execute(&html, v); err != nil {
		return nil, fmt.Errorf("mail %s: %w", m.Name, err)
	}
	return &RenderedMail{Subject: strings.Join(strings.Fields(v.Subject), " "), Text: v.plainText(), HTML: html.String()}, nil
}

// oneLine keeps what others chose, such as a name at an upstream, from being a letter of its own.
func oneLine(s string) string {
	runes := []rune(strings.Join(strings.Fields(s), " "))
	if len(runes) > maxMailArg {
		return string(runes[:maxMailArg-1]) + "…"
	}
	return string(runes)
}

// plainText is the mail for those who read text.
func (v mailView) plainText() string {
	paragraphs := []string{v.Text}
	if v.Code != "" {
		paragraphs = append(paragraphs, v.Code)
	}
	if v.Link != "" {
		paragraphs = append(paragraphs, v.Button+"\n"+v.Link) // without a colon, before which French has a space
	}
	if v.Hint != "" {
		paragraphs = append(paragraphs, v.Hint)
	}
	if v.Product != "" {
		paragraphs = append(paragraphs, "-- \n"+v.Product)
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

// readMail parses the one template of mails, of the last layer that has it, and executes it once as html/template looks at
// contexts only then.
func readMail(layers []fs.FS) (*template.Template, error) {
	files, err := readAll(layers, "mail", ".html")
	if err != nil {
		return nil, err
	}
	t, err := template.New("mail").Parse(string(files["mail"]))
	if err == nil {
		err = t.Execute(io.Discard, mailView{Link: "https://sample.example/", Hint: "sample", Product: "sample"})
	}
	if err != nil {
		return nil, fmt.Errorf("mail/mail.html: %w", err)
	}
	return t, nil
}
