"""Between the messages of the API and what the chat speaks, a file a noun.

A message is encoded once. The reply to its sender, the event of every subscriber and the replies that
hold many events are made of these bytes by prefixing them (``encoding.py``).
"""
