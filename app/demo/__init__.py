"""The demo: real servers, traffic with broken events in it, and a proof that nothing was lost."""
