// Package e2e holds the tests that run whole devices and clients against each
// other on loopback sockets. The package has no code of its own.
//
// The files with the build tag lab put programs that are not ours at one end,
// or in the middle: CoAP clients, ssh, an MQTT broker. They need those programs
// and fail without them.
//
// Those of them whose names begin with nat run client, device and basestation
// as processes in network namespaces, behind every kind of NAT. What they
// measure goes to the directory in LATCHKEY_LAB_OUT, else to dist/lab: grid.html
// and grid.json (grid-sample with -short), latency.json and roaming.json.
// LATCHKEY_GRID_RUNS is how often each cell of the grid is run, 3 if unset;
// LATCHKEY_LAB_LOGS is a directory for the logs of all processes.
package e2e
