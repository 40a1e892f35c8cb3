"""The desk: the platform's side. It believes nothing that it has not verified, looks up, and discloses what two people approved."""
