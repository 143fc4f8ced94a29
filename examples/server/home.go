package main

import (
	"bytes"
	"cmp"
	"html/template"
	"net/http"

	"github.com/go-idbroker/idbroker/broker"
)

// home is the page at "/": to it comes who signed in without having wanted to go anywhere, unless home_url says otherwise.
// Who is not signed in is sent to the login.
type home struct{ *node }

var homePage = template.Must(template.New("home").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Product}}</title>
<link rel="stylesheet" href="{{.Base}}/static/style.css">
</head>
<body>
<div class="column">
<main class="card">
<h1>{{.Product}}</h1>
<p class="lead">Signed in as {{.User}}.</p>
<p class="actions"><a class="button" href="{{.Base}}/logout">Sign out</a></p>
</main>
</div>
</body>
</html>
`))

func (h home) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	user, ok := broker.UserFrom(r.Context())
	if !ok {
		http.Redirect(w, r, h.BaseURL+"/login", http.StatusSeeOther)
		return
	}
	var page bytes.Buffer
	err := homePage.Execute(&page, map[string]string{
		"Product": cmp.Or(h.Name, "Signed in"), "Base": h.base, "User": cmp.Or(user.Name, user.Username),
	})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "strict-origin")
	w.Write(page.Bytes())
}
