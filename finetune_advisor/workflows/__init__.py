"""The only place where verbs are composed: what the commands and the Python API call."""
