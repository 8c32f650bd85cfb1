"""The TURN server without sockets: allocations, who may do what with them, and what moves between client and peers."""
