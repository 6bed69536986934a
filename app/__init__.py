"""Joins the rooms: settings, wiring, the Faust transport and worker, the command line, embedded services.

The only layer that chooses implementations. No other layer imports it.
"""
