"""How the database came to be as it is: a numbered step for each change, never edited once it was released."""

HEAD = "0001"  # the last of them
KNOWN = frozenset({HEAD})  # all of them
