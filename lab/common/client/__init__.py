"""Programs of the client's namespace: what a user of the guest would see, measured and verified."""
