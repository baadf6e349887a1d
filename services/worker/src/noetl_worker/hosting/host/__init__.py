"""The side of the child processes, with the standard library only.

Programs may be loaded outside of our environment, by other Python versions: hence the care for
older ones.
"""
