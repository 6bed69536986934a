"""Pure logic with fakes, in seconds. No server, no network."""
