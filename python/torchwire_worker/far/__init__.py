"""Runs far from the client, over ssh: in any Python from 3.6 on, with nothing but the standard library."""
