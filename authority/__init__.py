"""The requester's side: a client library, its command line, and the opening of what comes back."""
