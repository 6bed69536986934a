"""The demo: real services, real traffic with broken events in it, and a proof that nothing was lost.

Only `keepstream.app.cli.demo` enters.
"""
