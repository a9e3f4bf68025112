"""Runs again what a file of a failed step holds. It needs no client and no socket."""
