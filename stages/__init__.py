"""The pipeline: what each stage reads and writes, tying `data` and `models` together."""
