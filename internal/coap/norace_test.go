//go:build !race

package coap

const manyRequests = 200_000
