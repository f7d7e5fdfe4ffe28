// Package acl decides. It answers one question, may this peer do this here, and
// keeps the users, keys, roles and policies that the answer comes from. It
// knows no sockets and no clock.
package acl
