"""The SIP front end: transports, authentication, registration, routing, forking."""
