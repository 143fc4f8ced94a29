// Command echo mounts a broker on an Echo router.
//
//	go run -C examples ./echo
package main

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

// mount wraps the broker and its middleware with what Echo has for that.
func mount(b *broker.Broker) http.Handler {
	e := echo.New()
	e.Any("/id/*", echo.WrapHandler(b))
	e.GET("/", page, echo.WrapMiddleware(b.Sessions))
	private := e.Group("", echo.WrapMiddleware(b.RequireLogin))
	private.GET("/private", page)
	return e
}

func page(c echo.Context) error {
	user, _ := broker.UserFrom(c.Request().Context())
	return c.HTML(http.StatusOK, demo.Page(user))
}

func main() { demo.Serve(mount) }
