// Package story lets testscript tell what our programs do in words of its own:
// programs that run beside the script, what they say, the servers that they
// lead to, and exact exit codes.
//
//	spawn NAME PROGRAM ARG...   run a program until the script ends
//	await NAME REGEXP           wait until it said so; groups like (?P<ADDR>…) become $ADDR
//	signal NAME TERM|INT|HUP|KILL
//	ended NAME CODE             wait for its end
//	exits CODE PROGRAM ARG...   run a program to its end, which must be this code
//	serve KIND VAR [TEXT]       start a server: http (answers TEXT), echo, udpecho;
//	                            or take an address: dead (nobody listens), busy
//	say ADDR TEXT               send TEXT over TCP, close our half, print the answer
//	sayudp ADDR TEXT            send a datagram, print the answer
//	fetch URL                   print a page
//	bytes FILE                  remember a file; same FILE fails if it changed
//	edit FILE OLD NEW           replace text; truncate FILE N cuts a file
//
// A tunnel, a daemon and a client are then a few lines that read like the
// README.
package story
