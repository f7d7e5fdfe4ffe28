// Package client reaches devices: it finds them by name, pairs with them, sends
// CoAP requests and opens tunnels to their services.
//
// A whole client, once it is paired:
//
//	c := &client.Client{Dir: "/home/alice/.config/latchkey"}
//	conn, err := c.Dial(ctx, "home")
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	r, err := conn.Get(ctx, "/temperature")
//	if err != nil {
//		return err
//	}
//	fmt.Println(string(r.Body))
//	ssh, err := conn.Tunnel(ctx, "ssh") // a net.Conn
//
// A device is known by its key. Known, the file devices.json, is to a client
// what known_hosts is to ssh: it says which key each alias stands for, where
// the device was last seen, and as whom we are paired. Addresses are hints
// that prove nothing; a device that answers with another key is refused with
// both keys named, and nothing is overwritten.
//
// Administrators decide from afar what the daemon's owner decides at the device:
// Conn has methods for users, keys, roles, policies and invitations. Terms make a
// change hold only on the version that was read, so that of two administrators
// one is told to look again.
//
// A device that ends a session says why: latchkey.ErrRevoked, ErrDisconnected and
// ErrAbuse are final, and after ErrTokenExpired DialOptions.Login brings the next
// token.
//
// Errors match the sentinels of package latchkey whether the refusal was ours
// or the device's: errors.Is(err, latchkey.ErrForbidden).
package client
