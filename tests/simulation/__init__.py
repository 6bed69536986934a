"""The deterministic simulation: keepstream's core in a world of which one seed decides everything.

docs/architecture.md, "Simulation", says what it covers; `make simulate SEED=...` runs one world again.
"""
