"""The steps of the pipeline that train.py runs: each reads files of the run folder and writes its own."""
