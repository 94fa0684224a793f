"""What every script needs and no picture or network is known to: configuration, runs, checkpoints, metrics, drawing."""
