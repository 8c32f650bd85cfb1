"""STUN and TURN: messages, their protection, and the cores of server and client; nothing here opens a socket."""
