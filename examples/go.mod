module github.com/go-idbroker/idbroker/examples

go 1.26.0

require github.com/go-idbroker/idbroker v0.0.0

replace github.com/go-idbroker/idbroker => ../
