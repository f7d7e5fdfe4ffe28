// Package world builds small internets out of Linux network namespaces, for
// tests that run whole programs: every host, router and server is a namespace
// with its own addresses, routes and firewall.
//
//	host -- router (NAT) --+
//	host -- router (NAT) --+-- internet -- basestation
//
// Hosts of different sites share no route but by way of internet addresses.
// The addresses are those reserved for documentation (RFC 5737, RFC 3849).
// A router behaves as one Kind of NAT and can change in the middle of a test:
// forget its mappings, change its address, block UDP, become another kind. A
// host can move to another site. A Wire in the uplink of a site delays, loses,
// duplicates, reorders and limits, also changing as the test runs.
//
// A World needs Linux, root and the programs ip, nft, conntrack and ethtool;
// without them the test fails. It is gone when the test ends, whatever its
// result, and what a killed test left behind goes when the next World is made.
//
// A Grid runs one experiment for each pair of NAT kinds, compares the class of
// path with the table that Want states, and writes the result as a page.
//
// No product code imports this package.
package world
