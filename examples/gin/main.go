// Command gin mounts a broker on a Gin router.
//
//	go run -C examples ./gin
package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/examples/internal/demo"
)

// mount wraps the broker as a handler, and its middleware with use.
func mount(b *broker.Broker) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Any("/id/*path", gin.WrapH(b))
	r.GET("/", use(b.Sessions), page)
	private := r.Group("", use(b.RequireLogin))
	private.GET("/private", page)
	return r
}

// use makes a middleware of net/http one of Gin. If it answers by itself, nothing behind it runs.
func use(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		through := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			through = true
			c.Request = r // who is signed in is in its context
			c.Next()
		})
		middleware(next).ServeHTTP(c.Writer, c.Request)
		if !through {
			c.Abort()
		}
	}
}

func page(c *gin.Context) {
	user, _ := broker.UserFrom(c.Request.Context())
	c.Data(http.StatusOK, "text/html; charset=utf-8", []byte(demo.Page(user)))
}

func main() { demo.Serve(mount) }
