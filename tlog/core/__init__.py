"""The log's mathematics and formats, pure: no input or output, no clock, no randomness, no logging.

Everything a verifier has to trust is in this package and in nothing else. Time, salts and keys are arguments.
"""
