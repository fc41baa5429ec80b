"""Avenue's workers: what the database cannot do itself, because it needs the network.

Every handler and every job here has the same shape: verify, one SQL call, act on the answer.
"""
