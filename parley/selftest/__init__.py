"""A test of an installation from outside, as its clients see it: two users sign in, see each other, write, call, relay."""
