"""What decides: who is served next, how long a call will be, which cached block goes.

Pure state machines and key functions; they hold no queue, no clock and no socket, and import
nothing of ours but the errors. The schedulers and the policy lab run the same code.
"""
