"""Mutation check: known mistakes are made again, and any that mutmut can think of; the suite has to notice."""
