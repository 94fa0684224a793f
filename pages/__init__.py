"""One HTML page from plain data: the report of a run and the gallery of infer.py are made with it."""
