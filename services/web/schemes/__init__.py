"""Ways to say who one is over HTTP, each in a module of its own; `services.web.signing_in` puts them together."""
