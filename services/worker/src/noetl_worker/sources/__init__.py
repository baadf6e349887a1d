"""Sources of messages: each is read by polling, and acknowledged when its messages are settled.

The clients are used as they are and not through FastStream's brokers: those push messages into
handlers, while a bounded poll with late, grouped acknowledgements is what both users here need.
"""
