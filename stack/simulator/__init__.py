"""A payment provider for development and tests: speaks Stripe's wire format, moves no real money, obeys commands.

`python -m stack.simulator` serves it, `stack.simulator.control` commands it, README.md lists the commands.
"""
