"""Joins the rooms: settings, wiring, the Faust transport and worker, the command line, embedded services.

The only room that chooses implementations. Nobody imports it.
"""
