"""What every script needs and no image or network is known to: configuration, runs, checkpoints, metrics, drawing."""
