"""The parts of infer.py: input files, networks as predictors, and the output folder with its gallery."""
