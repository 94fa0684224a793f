"""The stages of train.py: each reads files of the run folder and writes its own."""
