"""What SIP applications stand on: requests in, responses out, requests of their own towards clients."""
