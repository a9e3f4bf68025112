"""Makes and removes the worker's environments, on the client's machine and far from it.

It runs in any Python from 3.6 on, with nothing but the standard library.
"""
