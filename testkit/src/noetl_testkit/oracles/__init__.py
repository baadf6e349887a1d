"""Oracles: judges of a run by its log, its rows and the effects of its tools.

Each reads what the system has stored, not what it says about itself. `judging.judge` asks all of
them; proofs and tests that ask less call the others.
"""
