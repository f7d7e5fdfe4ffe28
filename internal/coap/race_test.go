//go:build race

package coap

// manyRequests is less with the race detector, yet more than there are message ids.
const manyRequests = 80_000
