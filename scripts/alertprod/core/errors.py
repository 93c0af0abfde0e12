"""The two failures that are not bugs."""


class Rejected(Exception):
    """This exposure cannot be used; the night goes on without it.

    The message is the reason, with its number, and ends up in every product that follows.
    """


class BadInput(Exception):
    """The user can mend this: one sentence on what was found, one on what to do."""
