"""The proxy of the front end: transactions, forking and delivery, driven over flows and over gRPC."""
