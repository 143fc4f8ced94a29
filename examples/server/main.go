// Command server is a complete standalone broker: users come in through the providers of one YAML file, and the clients in
// it sign their users in over OpenID Connect.
//
//	go run -C examples ./server -config server/example.yaml -check
//	go run -C examples ./server -config server/example.yaml
//
// FILE is relative to the folder that the program runs in: -C makes that examples. README.md describes each key.
//
// The keys are in config.go, and made into a broker.Config in build.go; document.go, secret.go and explain.go read the file
// and say what is wrong where. What serves is in server.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-idbroker/idbroker/broker"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = `usage: server -config FILE [-check] [-confirm ALIAS] [-reseal]

Serves the broker that FILE describes. A relative FILE is looked for in the folder that the program runs in: with
"go run -C examples ./server" that is the folder examples. SIGHUP reads FILE again, SIGTERM ends it.

`

// command returns the exit status: 0 if all went well, 1 if the configuration or the server failed, 2 for a wrong call.
func command(args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() {
		fmt.Fprint(errOut, usage) //nolint:errcheck // nobody is left to be told
		flags.PrintDefaults()
	}
	file := flags.String("config", "", "the configuration `FILE`")
	check := flags.Bool("check", false, "only say what is wrong with FILE; the status is 1 if anything is")
	confirm := flags.String("confirm", "", "only confirm that the provider `ALIAS`, which was changed, speaks of the same people as before")
	reseal := flags.Bool("reseal", false, "only seal again with the first of its secrets what others have sealed in the store")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *file == "" || flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	if err := start(*file, *check, *reseal, *confirm, out, errOut); err != nil {
		fmt.Fprintln(errOut, err) //nolint:errcheck // nobody is left to be told
		return 1
	}
	return 0
}

func start(file string, check, reseal bool, confirm string, out, errOut io.Writer) error {
	s, err := load(file)
	if err != nil {
		return err
	}
	if check {
		_, err := fmt.Fprintf(out, "%s: no mistakes\n", file)
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // who asks twice does not want to wait
	defer stop()
	if confirm != "" {
		return once(s, errOut, func(b *broker.Broker) error { return b.ConfirmProvider(ctx, confirm) })
	}
	if reseal {
		return once(s, errOut, func(b *broker.Broker) error {
			n, err := b.Reseal(ctx)
			_, err2 := fmt.Fprintf(out, "%d values were sealed again\n", n)
			return errors.Join(err, err2)
		})
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	return run(ctx, s, again, errOut)
}
