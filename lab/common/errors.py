"""What goes wrong in the lab, in a sentence that says what to do."""


class LabError(Exception):
    """Something of the lab failed; the message says what, on what, and what to do."""
