"""Differential tests: random configurations on real proxies, and what kgdiag says of them.

`pool` has the applications that stay, `generate_*` the routing objects and requests of one seed, `send` the
ways of sending them, `predict` what kgdiag says, `compare` the judgement, `rounds` all of it in order.
"""
