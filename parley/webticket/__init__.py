"""Web tickets and certificates by SOAP (MS-OCAUTHWS): messages of both services, the ticket, and the proof of its key."""
