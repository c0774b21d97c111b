"""How things are done: a folder for each recipe key, a file for each idea."""
