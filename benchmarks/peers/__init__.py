"""Optimisers of other packages, as policies of the same loop.

They see the same initial designs and pay the same costs. Where they propose something
that is not in a table, its nearest design takes its place; what is measured already is
told without being paid for again.
"""
